// Package credentials finds the credentials that a person or a CI system has for a registry, and keeps those of `ocipkg login`.
//
// Invariants. A secret is in a Credential's fields and in the file or helper it is stored in, and nowhere else: no error, warning
// or trace of this package has one in it, nor its length, and none is ever on a command line. A source that does not work is
// a warning and the next one is asked; it never stops anybody. A helper that hangs is killed, with all it started, and keeps
// nobody waiting but those who want credentials for the same registry. A configuration file is replaced whole or not at all,
// and keeps what this package does not know.
//
// internal/registry asks it and uses the answers; docs/registries.md is its documentation for users.
package credentials

// Package registry talks to OCI registries: it parses references, finds credentials, reads manifests and blobs, and pushes.
//
// Invariants. Nothing this package hands out is unverified: a Document's bytes hash to its Digest, and a blob's reader
// answers io.EOF only after the size and the sha256 of everything it delivered have been found right. No request leaves
// over plain HTTP unless its host is this machine or one the user named in OCIPKG_INSECURE_REGISTRIES or with plainHTTP.
// Credentials go to the registry (or its token server) they belong to, and into no error, warning, redirect or mirror. A
// mirror changes where bytes come from, never which.
//
// It does not know what a blob means. internal/artifact and internal/trust read the documents, internal/store keeps the
// bytes; both are handed to them by fetcher. internal/registry/credentials knows who the user is. Names, token exchange and
// the putting of manifests are go-containerregistry's; downloads, uploads, retries, the redirect policy and the reading of
// challenges are ours, on one round tripper under it (transport.go). docs/faults.md lists what can go wrong and the test of
// each.
package registry

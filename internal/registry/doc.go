// Package registry talks to OCI registries: it parses references, finds credentials, reads manifests and blobs, and pushes.
//
// Invariants. Nothing this package hands out is unverified: a Document's bytes hash to its Digest, and a blob's reader
// answers io.EOF only after the size and the sha256 of everything it delivered have been found right. No request leaves
// over plain HTTP unless its host is this machine or one the user named in OCIPKG_INSECURE_REGISTRIES. Credentials go to
// the registry (or its token server) they belong to, and into no error, warning or redirect.
//
// It does not know what a blob means. internal/artifact and internal/trust read the documents, internal/store keeps the
// bytes; both are handed to them by fetcher. Names, credentials, token exchange and the putting of manifests are
// go-containerregistry's; downloads, uploads, retries and the redirect policy are ours, on one round tripper under it
// (transport.go). faults_test.go lists what can go wrong and the test of each.
package registry

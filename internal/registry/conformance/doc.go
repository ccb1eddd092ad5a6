// Package conformance holds tests alone: our client against registries that are not of our making, and our registry under the
// OCI conformance suite, which is not of our making either.
//
// The programs are where `make registries` puts them, in .out; a test whose program is not there is skipped and says so.
package conformance

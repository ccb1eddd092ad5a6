// Package trust decides whether a library may be used at all.
//
// Invariant: a policy is asked before any byte of a library is unpacked, and what it cannot confirm it refuses. It
// knows references and, once signatures are verified here, cosign's formats; it does not know Bazel.
package trust

import (
	"fmt"
	"os"
	"strconv"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// RequireDigestVariable is the environment variable that turns on Policy.RequireDigest.
const RequireDigestVariable = "OCIPKG_REQUIRE_DIGEST"

// Policy is what must be known of a library before it is used.
type Policy struct {
	// RequireDigest refuses references that name a tag alone: what a tag points to can change from one build to the next.
	RequireDigest bool
}

// PolicyFromEnvironment reads the policy. A value that is no boolean is an error of kind Usage, for a policy that is
// misspelt must not be one that is off.
func PolicyFromEnvironment() (Policy, error) {
	value := os.Getenv(RequireDigestVariable)
	if value == "" {
		return Policy{}, nil
	}
	on, err := strconv.ParseBool(value)
	if err != nil {
		return Policy{}, &diagnostic.Error{Kind: diagnostic.Usage, What: RequireDigestVariable, Why: fmt.Sprintf("%q is neither 1 nor 0", value), Do: "set it to 1, to 0, or not at all"}
	}
	return Policy{RequireDigest: on}, nil
}

// Admit reports, as an error of kind Refused, why a reference must not be used; pinned says whether it has a digest.
func (p Policy) Admit(pinned bool) error {
	if p.RequireDigest && !pinned {
		return &diagnostic.Error{Kind: diagnostic.Refused, What: "policy", Why: RequireDigestVariable + "=1 allows pinned images alone, and this one names only a tag",
			Do: "pin it with `ocipkg pin`"}
	}
	return nil
}

package trust

import (
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

func TestPolicy(t *testing.T) {
	for _, c := range []struct {
		value     string
		pinned    bool
		wantParse diagnostic.Kind // 0: none
		wantAdmit diagnostic.Kind
	}{
		{value: "", pinned: false},
		{value: "0", pinned: false},
		{value: "false", pinned: false},
		{value: "1", pinned: true},
		{value: "1", pinned: false, wantAdmit: diagnostic.Refused},
		{value: "true", pinned: false, wantAdmit: diagnostic.Refused},
		{value: "yes please", wantParse: diagnostic.Usage},
	} {
		t.Setenv(RequireDigestVariable, c.value)
		policy, err := PolicyFromEnvironment()
		if c.wantParse != 0 {
			if err == nil || diagnostic.KindOf(err) != c.wantParse || !strings.Contains(err.Error(), c.value) {
				t.Errorf("%q: error %v, want one of kind %d that names it", c.value, err, c.wantParse)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.value, err)
			continue
		}
		err = policy.Admit(c.pinned)
		if (err != nil) != (c.wantAdmit != 0) || err != nil && diagnostic.KindOf(err) != c.wantAdmit {
			t.Errorf("%q, pinned %v: %v, want kind %d", c.value, c.pinned, err, c.wantAdmit)
		}
	}
}

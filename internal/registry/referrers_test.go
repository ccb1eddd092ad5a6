package registry

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry/registrytest"
)

// TestReferrersUnion: what the API answers over several pages and what the fallback tag lists, each once.
func TestReferrersUnion(t *testing.T) {
	hash := func(n int) string { return fmt.Sprintf("sha256:%064x", n) }
	page := func(digests ...int) string {
		var list []string
		for _, n := range digests {
			list = append(list, fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":2}`, hash(n)))
		}
		return `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` + strings.Join(list, ",") + `]}`
	}
	first := func(n int) (all []int) {
		for i := range n {
			all = append(all, i+1)
		}
		return all
	}
	numbers := func(all []int) string {
		var text []string
		for _, n := range all {
			text = append(text, fmt.Sprintf("%x", n))
		}
		return strings.Join(text, " ")
	}
	const index = "application/vnd.oci.image.index.v1+json"
	subject, err := parseDigest(hash(0xabc))
	if err != nil {
		t.Fatal(err)
	}
	list := func(contentType, link, body string) registrytest.Act {
		return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", contentType)
			if link != "" {
				w.Header().Set("Link", link)
			}
			fmt.Fprint(w, body)
		}
	}
	for _, c := range []struct {
		name   string
		faults []registrytest.Fault
		want   string // numbers, or of an error its kind
	}{
		{"nothing", nil, ""},
		{"two pages and a tag", []registrytest.Fault{
			{Path: "/referrers/", Times: 1, Act: list(index, `</v2/a/referrers/`+subject.String()+`?n=2>; rel="next"`, page(1, 2))},
			{Path: "/referrers/", Act: list(index, "", page(3))},
			{Path: "/manifests/sha256-", Act: list(index, "", page(2, 4))},
		}, "1 2 3 4"},
		{"no API", []registrytest.Fault{
			{Path: "/referrers/", Act: registrytest.Answer(http.StatusNotFound, "", "", "")},
			{Path: "/manifests/sha256-", Act: list(index, "", page(5))},
		}, "5"},
		{"a page of something else", []registrytest.Fault{
			{Path: "/referrers/", Act: list("text/html", "", "<html>")},
			{Path: "/manifests/sha256-", Act: list(index, "", page(6))},
		}, "6"},
		{"temporary failure", []registrytest.Fault{
			{Path: "/referrers/", Times: 1, Act: registrytest.Busy(http.StatusServiceUnavailable, "0")},
			{Path: "/referrers/", Act: list(index, "", page(7))},
		}, "7"},
		{"denied", []registrytest.Fault{{Path: "/referrers/", Act: registrytest.Answer(http.StatusForbidden, "", "", "")}}, diagnostic.Denied.String()},
		{"not JSON", []registrytest.Fault{{Path: "/referrers/", Act: list(index, "", "{")}}, diagnostic.Unreachable.String()},
		{"next page elsewhere", []registrytest.Fault{{Path: "/referrers/", Act: list(index, `<https://elsewhere.example/v2/b/referrers/x>; rel="next"`, page(1))}}, diagnostic.Unreachable.String()},
		{"more than are possible", []registrytest.Fault{{Path: "/referrers/", Act: list(index, "", page(first(maxReferrers+1)...))}}, diagnostic.Refused.String()},
		{"more with those of the tag", []registrytest.Fault{
			{Path: "/referrers/", Act: list(index, "", page(first(maxReferrers)...))},
			{Path: "/manifests/sha256-", Act: list(index, "", page(maxReferrers+1))},
		}, diagnostic.Refused.String()},
		{"as many as are possible", []registrytest.Fault{
			{Path: "/referrers/", Act: list(index, "", page(first(maxReferrers)...))},
			{Path: "/manifests/sha256-", Act: list(index, "", page(maxReferrers))},
		}, numbers(first(maxReferrers))},
		{"pages without end", []registrytest.Fault{{Path: "/referrers/", Act: list(index, `</v2/a/referrers/x>; rel="next"`, page(1))}}, diagnostic.Refused.String()},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := registrytest.New(t.TempDir())
			defer server.Close()
			for _, f := range c.faults {
				server.Inject(f)
			}
			ref, err := ParseReference(server.Host + "/a")
			if err != nil {
				t.Fatal(err)
			}
			client := NewClient(Options{Retry: &RetryPolicy{Attempts: 3, Base: 1}})
			found, err := client.Referrers(t.Context(), ref.Repository, subject)
			var got []string
			for _, d := range found {
				got = append(got, strings.TrimLeft(d.Digest.Hex, "0"))
			}
			text := strings.Join(got, " ")
			if err != nil {
				text = diagnostic.KindOf(err).String()
			}
			if text != c.want {
				t.Errorf("got %.100q (%v), want %.100q", text, err, c.want)
			}
		})
	}
}

func FuzzNextPage(f *testing.F) {
	f.Add(`</v2/a/referrers/x?n=2>; rel="next"`)
	f.Add(`<https://h/v2/a/referrers/x>; rel=next`)
	f.Add(`<>`)
	f.Fuzz(func(t *testing.T, link string) {
		if path, err := nextPage(link, "/v2/a"); err == nil && path != "" && !strings.HasPrefix(path, "/referrers/") {
			t.Errorf("%q leads to %q", link, path)
		}
	})
}

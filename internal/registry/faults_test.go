package registry_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// faultList says where each way is attacked in which a wire, a document or a registry can go wrong. A place is a test's name,
// or the beginning of a case's name within a table. What no test here can show has a reason instead.
var faultList = []struct {
	item, what string
	places     []string
	reason     string
}{
	{"A1", "a connection is cut, at every 64 KiB", []string{"TestBlobA1_CutAtEvery64KiB", "TestBlobCutAgainAndAgain", "A1 cut"}, ""},
	{"A2", "Content-Length is short, long, absent, negative", []string{"A2 length short", "A2 length long", "A2 length absent", "A2 length negative", "A2 ends early"}, ""},
	{"A3", "chunked bodies", []string{"A3 chunked"}, ""},
	{"A4", "Range: answered with 200, another start, another total, 416, a changed ETag", []string{"A4 200 to a range", "A4 other 200", "A4 206 wrong start", "A4 206 wrong total", "A4 206 without", "A4 206 with other", "A4 416", "A4 changed ETag", "A4 no range", "TestBlobWholeBodiesAreBounded"}, ""},
	{"A5", "a reset before, in and after the answer", []string{"A5 reset before header", "A5 reset in the middle", "A5 reset after the last byte", "A5 closed before", "A5 not HTTP", "A5 reset during an upload"}, ""},
	{"A6", "headers and bodies that come by and by, or not", []string{"A6 slow header", "A6 header by and by", "A6 stalled body", "A6 trickling body", "A6 upload that nobody takes", "TestSlowReaderIsNoStall"}, ""},
	{"A7", "429 and 503 with Retry-After: seconds, a date, huge, garbage", []string{"TestRetryAfter", "A7 503", "A7 429", "TestRetryWaitContext"}, ""},
	{"A8", "redirects: a loop, 11, to http, to another host or port, with a user, to a private address", []string{"TestRedirects", "A8 loop", "A8 ten hops", "A8 from https to http", "A8 another host", "A8 another port", "A8 user in URL"}, ""},
	{"A8", "a redirect from the internet to a private address", []string{"TestCheckRedirect"}, "by its two URLs alone: on loopback no server is on the internet"},
	{"A9", "a page, nothing, an error, each with 200", []string{"A9 page", "A9 nothing", "A9 empty", "A9 error with 200"}, ""},
	{"A10", "Content-Encoding", []string{"A10 labelled as gzip", "A10 other bytes", "A10 encoded"}, ""},
	{"A11", "wrong bytes of the right length, the right bytes and more", []string{"A11 wrong byte", "A11 wrong last byte", "A11 right prefix and more", "A11 C1 other bytes"}, ""},
	{"A12", "HTTP/2: GOAWAY, RST_STREAM", []string{"TestProxyA13_A12"}, "the client speaks HTTP/1.1 alone, which the test shows with a registry that offers HTTP/2"},
	{"A13", "a proxy, an authority of one's own, a certificate out of date, client certificates", []string{"TestProxyA13_A12", "TestTLS", "TestTLSA13_A14_CertificateOutOfDate", "TestTLSA13_ClientCertificateWanted"}, ""},
	{"A14", "clocks that are a year wrong, with certificates and tokens", []string{"TestTLSA13_A14_CertificateOutOfDate", "TestTokenA14_Clocks"}, "the other side's clock is moved, since this machine's is everybody's"},
	{"C1", "a manifest of another digest", []string{"C1 another manifest", "C1 header contradicts"}, ""},
	{"C2", "an index for a manifest", []string{"C2 "}, ""},
	{"C3", "manifest and index at once", []string{"C3 "}, ""},
	{"C4", "media types that contradict each other", []string{"C4 "}, ""},
	{"C5", "a manifest of more than 4 MiB", []string{"C5 "}, ""},
	{"C6", "nested and cyclic indexes", nil, "this package reads one document at a time; who follows an index bounds it (internal/library, TestDocumentsThatLeadAstray and TestCopyBounds)"},
	{"C7", "a million layers, absurd sizes", []string{"C7 "}, ""},
	{"C8", "a tag that moves between looking it up and pulling", []string{"TestDocumentC8_TagMoved"}, ""},
	{"C10", "foreign URLs", []string{"TestBlobC10_ForeignURLs"}, ""},
	{"C11", "sha512, unknown algorithms, upper-case hex", []string{"C11 ", "TestParseReferenceErrors"}, ""},
	{"G", "uploads: in one piece, resumed, answers lost, lost for ever", []string{"TestUploadG_Monolithic", "TestUploadG_HeadUnanswered", "TestUploadG_Resumed", "TestUploadG_CommitUnanswered", "TestUploadG_LostAgainAndAgain", "TestUploadG_DigestDisputed"}, ""},
	{"G", "a token that expires during a push", []string{"TestUploadG_TokenExpires"}, ""},
	{"G", "mounts: granted, refused with 202 and otherwise", []string{"TestUploadG_Mount"}, ""},
	{"G", "an upload that is sent elsewhere", []string{"TestUploadG_LocationElsewhere", "Location elsewhere"}, ""},
	{"G", "one blob pushed by many at once", []string{"TestPushG_ConcurrentPushOfOneBlob"}, ""},
	{"G", "manifests before their index, nothing twice", []string{"TestPushG_IndexPushOrder", "TestPush"}, ""},
	{"G", "referrers without the API", []string{"TestPushG_ReferrersTag"}, ""},
	{"G", "the conformance suite, and these with real registries", nil, "internal/registry/conformance"},
}

// A place that is no longer there makes the list a lie.
func TestFaultList(t *testing.T) {
	names := map[string]bool{}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("the sources are not here: Bazel runs the test without them")
	}
	for _, file := range files {
		if file == "faults_test.go" {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				names[n.Name.Name] = true
			case *ast.BasicLit:
				if n.Kind == token.STRING {
					if text, err := strconv.Unquote(n.Value); err == nil {
						names[text] = true
					}
				}
			}
			return true
		})
	}
	for _, entry := range faultList {
		if len(entry.places) == 0 && entry.reason == "" {
			t.Errorf("%s: %s: neither a test nor a reason", entry.item, entry.what)
		}
		for _, place := range entry.places {
			found := names[place]
			for name := range names {
				found = found || !strings.HasPrefix(place, "Test") && strings.HasPrefix(name, place)
			}
			if !found {
				t.Errorf("%s: there is no test called %q", entry.item, place)
			}
		}
	}
}

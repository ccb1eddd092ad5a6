package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// upload brings one blob into a repository: it asks whether it is there, asks for a mount, else sends it in one PATCH and
// commits it. After a failure the registry is asked how much it has, and only the rest is sent; what it cannot tell is sent
// anew. docs/decisions/0022 says why this is not go-containerregistry's.
type upload struct {
	client  *Client
	session *session
	blob    *sourceBlob
	from    name.Repository // to mount from; the zero value is none

	location *url.URL // of the registry's upload session; nil when there is none
	broken   bool     // a request of that session has failed
	offset   int64    // how much of the blob it has
	refused  bool     // the registry has found another digest than the blob's
	sessions int      // how many there have been
}

func (u *upload) run(ctx context.Context) error {
	defer u.blob.forget()
	tries := attempts{policy: u.client.policy}
	for {
		before := u.offset
		err := u.attempt(ctx)
		if err = u.blob.blame(err); err == nil {
			return nil
		}
		if errors.Is(err, ErrMirrorLied) { // each time there is a mirror less
			u.blob.forget()
			u.location, u.offset, u.broken = nil, 0, false
			continue
		}
		if u.offset-before >= u.client.policy.StallBytes {
			tries.failures = 0
		}
		if err := tries.again(ctx, err); err != nil {
			return err
		}
	}
}

func (u *upload) attempt(ctx context.Context) error {
	if u.location != nil && u.broken {
		if err := u.ask(ctx); err != nil {
			return err
		}
	}
	if u.location == nil {
		if there, err := u.begin(ctx); there || err != nil {
			return err
		}
	}
	u.broken = true // until both requests have gone well
	if u.offset < u.blob.desc.Size {
		if err := u.send(ctx); err != nil {
			return err
		}
	}
	return u.commit(ctx)
}

// restart forgets the session. Its error is one that another attempt may heal.
func (u *upload) restart(resp *http.Response) error {
	u.location, u.offset = nil, 0
	return &cutError{errors.New("the registry lost the upload: " + newStatusError(resp).Error())} // the status by itself would be final
}

// begin finds the blob, or has it mounted, or opens a session.
func (u *upload) begin(ctx context.Context) (there bool, err error) {
	repo := u.session.repo
	base := url.URL{Scheme: repo.Scheme(), Host: repo.RegistryStr(), Path: "/v2/" + repo.RepositoryStr() + "/blobs/"}
	digest := u.blob.desc.Digest.String()
	resp, err := u.do(ctx, http.MethodHead, base.JoinPath(digest), nil)
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return true, nil
	}
	// Whatever else it said, for example that a storage service it redirects to knows no HEAD, the next request will tell.
	target := base.JoinPath("uploads/")
	if from := u.from; from != (name.Repository{}) {
		u.from = name.Repository{} // a registry that does not like the question is asked once
		mount := *target
		mount.RawQuery = url.Values{"mount": {digest}, "from": {from.RepositoryStr()}}.Encode()
		resp, err := u.do(ctx, http.MethodPost, &mount, nil)
		if ctx.Err() != nil {
			return false, err
		}
		if err == nil {
			defer resp.Body.Close()
			switch resp.StatusCode {
			case http.StatusCreated:
				return true, nil
			case http.StatusAccepted:
				return false, u.opened(resp)
			}
		}
	}
	resp, err = u.do(ctx, http.MethodPost, target, nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return false, newStatusError(resp)
	}
	return false, u.opened(resp)
}

// opened is bounded: parts that arrive and are lost again would otherwise be progress for ever.
func (u *upload) opened(resp *http.Response) error {
	u.sessions++
	if u.sessions > u.client.policy.Attempts {
		return &diagnostic.Error{
			Kind: diagnostic.Unreachable,
			Why:  fmt.Sprintf("%s lost the upload %d times", resp.Request.URL.Host, u.sessions-1),
			Do:   "run it again on a better connection; see the registry's log",
		}
	}
	u.offset, u.broken = 0, false
	return u.moved(resp)
}

// moved takes the session's next address, which has to be the registry's own: a body goes there.
func (u *upload) moved(resp *http.Response) error {
	text := resp.Header.Get("Location")
	next, err := url.Parse(text)
	if err != nil || text == "" {
		return &refusal{why: fmt.Sprintf("%s does not say where the upload is to go", resp.Request.URL.Host), do: "check that it is an OCI registry"}
	}
	next = resp.Request.URL.ResolveReference(next)
	if !sameHost(next, resp.Request.URL.Host) {
		return &refusal{why: fmt.Sprintf("%s wants an upload to go to another host, %s", resp.Request.URL.Host, next.Host)}
	}
	if next.Scheme != resp.Request.URL.Scheme {
		return &refusal{
			why: fmt.Sprintf("%s is reached by %s and wants an upload to go by %s", resp.Request.URL.Host, resp.Request.URL.Scheme, next.Scheme),
			do:  "whoever runs it has to tell it its own URL, which the proxy before it hides",
		}
	}
	u.location = next
	return nil
}

// ask finds out how much of the blob a broken session has ("Pushing a blob in chunks").
func (u *upload) ask(ctx context.Context) error {
	if u.refused {
		u.location, u.offset = nil, 0
		return nil
	}
	resp, err := u.do(ctx, http.MethodGet, u.location, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	had, ok := int64(0), false
	if resp.StatusCode == http.StatusNoContent {
		had, ok = uploadedBytes(resp.Header.Get("Range"))
	}
	if !ok || had > u.blob.desc.Size {
		u.location, u.offset = nil, 0
		return nil
	}
	if resp.Header.Get("Location") != "" {
		if err := u.moved(resp); err != nil {
			return err
		}
	}
	u.offset = had
	return nil
}

// uploadedBytes reads the Range of an upload's status, 0-<last byte>. Registries write "0-0" for nothing as well as for one
// byte, so that is no answer.
func uploadedBytes(s string) (int64, bool) {
	text, ok := strings.CutPrefix(strings.TrimPrefix(s, "bytes="), "0-")
	last, err := strconv.ParseUint(text, 10, 62)
	return int64(last) + 1, ok && err == nil && last > 0
}

func (u *upload) send(ctx context.Context) error {
	body, err := u.blob.openAt(u.offset)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, u.location.String(), body)
	if err != nil {
		body.Close()
		return err
	}
	offset := u.offset
	req.GetBody = func() (io.ReadCloser, error) { return u.blob.openAt(offset) }
	req.ContentLength = u.blob.desc.Size - offset
	req.Header.Set("Content-Type", "application/octet-stream")
	if offset > 0 {
		req.Header.Set("Content-Range", fmt.Sprintf("%d-%d", offset, u.blob.desc.Size-1))
	}
	resp, err := u.session.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusAccepted, http.StatusNoContent, http.StatusCreated:
	case http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable:
		return u.restart(resp)
	default:
		return newStatusError(resp)
	}
	u.offset = u.blob.desc.Size
	if resp.Header.Get("Location") == "" {
		return nil // the address stays
	}
	return u.moved(resp)
}

func (u *upload) commit(ctx context.Context) error {
	target := *u.location
	query := target.Query()
	query.Set("digest", u.blob.desc.Digest.String())
	target.RawQuery = query.Encode()
	resp, err := u.do(ctx, http.MethodPut, &target, http.Header{"Content-Type": {"application/octet-stream"}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusCreated, http.StatusNoContent:
		return nil
	case http.StatusNotFound:
		return u.restart(resp) // or it is committed, which the next attempt finds
	case http.StatusBadRequest, http.StatusRequestedRangeNotSatisfiable:
		// The parts of a resumed upload may have been put together wrongly. Once more and in one piece tells that, and a disputedError,
		// from a source with other bytes than it says.
		if !u.refused {
			u.refused = true
			u.location, u.offset = nil, 0
			return &disputedError{newStatusError(resp)}
		}
	}
	return newStatusError(resp)
}

// do sends a request without a body.
func (u *upload) do(ctx context.Context, method string, target *url.URL, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, target.String(), nil)
	if err != nil {
		return nil, err
	}
	for key, values := range header {
		req.Header[key] = values
	}
	return u.session.http.Do(req)
}

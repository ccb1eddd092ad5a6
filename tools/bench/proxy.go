//go:build linux

package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
)

// proxy stands before a registry, counts the bytes of layers that it passes on, and breaks one connection where it is told.
type proxy struct {
	host       string
	listener   net.Listener
	layerBytes atomic.Int64

	mu     sync.Mutex
	cut    string // digest of the blob whose connection breaks once
	cutAt  int64  // after how many bytes
	wasCut bool
}

func newProxy(target string, layers []artifact.Descriptor) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{host: listener.Addr().String(), listener: listener}
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: target})
	forward.ModifyResponse = func(resp *http.Response) error {
		isLayer := func(l artifact.Descriptor) bool { return strings.HasSuffix(resp.Request.URL.Path, l.Digest.String()) }
		if resp.Request.Method == http.MethodGet && slices.ContainsFunc(layers, isLayer) {
			resp.Body = &counted{ReadCloser: resp.Body, p: p, left: p.limit(resp.Request.URL.Path)}
		}
		return nil
	}
	go http.Serve(listener, forward) // ends with the listener
	return p, nil
}

func (p *proxy) close() { p.listener.Close() }

// limit is how many bytes of a path may pass, below zero for all.
func (p *proxy) limit(path string) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut == "" || p.wasCut || !strings.HasSuffix(path, p.cut) {
		return -1
	}
	p.wasCut = true
	return p.cutAt
}

type counted struct {
	io.ReadCloser
	p    *proxy
	left int64
}

func (c *counted) Read(b []byte) (int, error) {
	if c.left == 0 {
		panic(http.ErrAbortHandler)
	}
	if c.left > 0 {
		b = b[:min(int64(len(b)), c.left)]
	}
	n, err := c.ReadCloser.Read(b)
	if c.left > 0 {
		c.left -= int64(n)
	}
	c.p.layerBytes.Add(int64(n))
	return n, err
}

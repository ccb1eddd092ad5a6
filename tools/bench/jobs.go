//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/ocipkg/rules_ocipkg/internal/store"
)

var jobs = []struct {
	name string
	run  func(*bench) ([]row, error)
}{
	{"memory", (*bench).memory},
	{"cold zstd", (*bench).coldZstd},
	{"cold gzip", (*bench).coldGzip},
	{"small", (*bench).small},
	{"warm", (*bench).warm},
	{"materialise", (*bench).materialise},
	{"eight", (*bench).eight},
	{"cut", (*bench).cut},
	{"pack", (*bench).packing},
	{"bazel", (*bench).bazel},
	{"gazelle", (*bench).gazelle},
}

// pull is a pull into a store of its own.
func (b *bench) pull(img *image) contestant {
	return contestant{"ocipkg pull", func(dir string) (time.Duration, error) {
		p := b.ours("pull", "--quiet", img.ref).with("OCIPKG_STORE=" + dir)
		return p.took2(p.run())
	}}
}

func (p *process) took2(err error) (time.Duration, error) { return p.took, err }

func (b *bench) orasPull() (contestant, error) {
	ref := b.host + "/bench/oras:1"
	if err := command(filepath.Join(b.bin, "oras"), "push", "--plain-http", ref, "tree").in(filepath.Dir(b.tree)).run(); err != nil {
		return contestant{}, err
	}
	return contestant{"oras pull", func(dir string) (time.Duration, error) {
		p := command(filepath.Join(b.bin, "oras"), "pull", "--plain-http", "-o", dir, ref)
		return p.took2(p.run())
	}}, nil
}

// curl fetches the same layers with the tools that every system has.
func (b *bench) curl(img *image) contestant {
	script := "set -e; cd \"$1\"; for d in $2; do curl -sSf -o l \"http://$3/v2/bench/zstd/blobs/sha256:$d\"; echo \"$d  l\" | sha256sum -c --quiet; zstd -dc l | tar xf -; done"
	var digests string
	for _, l := range img.layers {
		digests += l.Digest.Hex + " "
	}
	return contestant{`curl; sha256sum; zstd -dc \| tar x`, func(dir string) (time.Duration, error) {
		p := command("sh", "-c", script, "sh", dir, digests, b.host)
		return p.took2(p.run())
	}}
}

// crane has no command that fetches files; what comes nearest writes the layers over each other as one archive, once it has
// verified them.
func (b *bench) crane(img *image) contestant {
	return contestant{`crane export \| tar x`, func(dir string) (time.Duration, error) {
		p := command("sh", "-c", `crane export "$2" - | tar xf - -C "$1"`, "sh", dir, img.ref)
		return p.took2(p.run())
	}}
}

// stages are what a fetch consists of, each alone and in one thread; the slowest is the limit of any pipeline of them.
func (b *bench) stages(repository string, img *image) ([]contestant, error) {
	var blobs [][]byte
	for _, l := range img.layers {
		r, err := b.blob(repository, l.Digest)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return nil, err
		}
		blobs = append(blobs, data)
	}
	decode := func(blob []byte, use func(io.Reader) error) error {
		if repository == "gzip" {
			z, err := gzip.NewReader(bytes.NewReader(blob))
			if err != nil {
				return err
			}
			return use(z)
		}
		z, err := zstd.NewReader(bytes.NewReader(blob), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return err
		}
		defer z.Close()
		return use(z)
	}
	discard := func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err }
	type file struct {
		name string
		data []byte
	}
	var tree []file
	for _, blob := range blobs {
		err := decode(blob, func(r io.Reader) error {
			for t := tar.NewReader(r); ; {
				h, err := t.Next()
				if err == io.EOF {
					return nil
				}
				if err != nil {
					return err
				}
				if h.Typeflag == tar.TypeReg {
					data, err := io.ReadAll(t)
					if err != nil {
						return err
					}
					tree = append(tree, file{h.Name, data})
				}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	timed := func(name string, do func(dir string) error) contestant {
		return contestant{name, func(dir string) (time.Duration, error) {
			start := time.Now()
			err := do(dir)
			return time.Since(start), err
		}}
	}
	return []contestant{
		timed("download", func(string) error {
			for _, l := range img.layers {
				r, err := b.blob(repository, l.Digest)
				if err != nil {
					return err
				}
				err = discard(r)
				r.Close()
				if err != nil {
					return err
				}
			}
			return nil
		}),
		timed("hash", func(string) error {
			for _, blob := range blobs {
				sha256.Sum256(blob)
			}
			return nil
		}),
		timed("decompress", func(string) error {
			for _, blob := range blobs {
				if err := decode(blob, discard); err != nil {
					return err
				}
			}
			return nil
		}),
		timed("write", func(dir string) error {
			made := map[string]bool{}
			for _, f := range tree {
				p := filepath.Join(dir, f.name)
				if d := filepath.Dir(p); !made[d] {
					made[d] = true
					if err := os.MkdirAll(d, 0o755); err != nil {
						return err
					}
				}
				if err := os.WriteFile(p, f.data, 0o444); err != nil {
					return err
				}
			}
			return nil
		}),
	}, nil
}

// cold races a cold pull against its peers, and against the slowest of its own stages.
func (b *bench) cold(repository string, img *image, peers []contestant, bounds []float64) ([]row, error) {
	stages, err := b.stages(repository, img)
	if err != nil {
		return nil, err
	}
	best, err := b.race(b.turns, append(append([]contestant{b.pull(img)}, peers...), stages...)...)
	if err != nil {
		return nil, err
	}
	ours := best[0]
	var rows []row
	for i, peer := range peers {
		rows = append(rows, atLeast(fmt.Sprintf("cold fetch, %s: faster than `%s`", repository, peer.name), ratio(best[1+i], ours), bounds[i],
			fmt.Sprintf(" (%s against %s)", seconds(ours), seconds(best[1+i]))))
	}
	limit, slowest := time.Duration(0), ""
	for i, stage := range stages {
		if took := best[1+len(peers)+i]; took > limit {
			limit, slowest = took, stage.name
		}
	}
	share := 100 * ratio(limit, ours)
	rows = append(rows, row{fmt.Sprintf("cold fetch, %s: share of the pipeline's limit", repository),
		fmt.Sprintf("%.0f %% (%s takes %s)", share, slowest, seconds(limit)), "at least 60 %", share >= 60})
	return rows, nil
}

func (b *bench) coldZstd() ([]row, error) {
	oras, err := b.orasPull()
	if err != nil {
		return nil, err
	}
	return b.cold("zstd", &b.zstd, []contestant{oras, b.curl(&b.zstd), b.crane(&b.zstd)}, []float64{4, 1.5, 0})
}

// memory comes before the jobs that fill this process: what a child had before it became another program counts as its.
func (b *bench) memory() ([]row, error) {
	large, err := b.large()
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, what := range []struct{ name, ref string }{
		{"zstd", b.zstd.ref}, {"gzip", b.gzip.ref}, {"1 GB in one layer, zstd", large["zstd"]}, {"1 GB in one layer, gzip", large["gzip"]},
	} {
		dir, err := b.fresh()
		if err != nil {
			return nil, err
		}
		p := b.ours("pull", "--quiet", what.ref).with("OCIPKG_STORE=" + dir)
		if err := p.run(); err != nil {
			return nil, err
		}
		usage, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
		if !ok {
			return nil, errors.New("this system does not tell a process's memory")
		}
		peak := usage.Maxrss * 1024
		rows = append(rows, row{"cold fetch, " + what.name + ": memory at its peak", fmt.Sprintf("%.0f MB", mega(peak)), "at most 128 MB", peak <= 128e6})
	}
	return rows, nil
}

// large packs and pushes headers of 1 GB that nobody has written, and returns their references by compression.
func (b *bench) large() (refs map[string]string, err error) {
	dir := filepath.Join(b.work, "large")
	if err := os.MkdirAll(filepath.Join(dir, "prefix", "include"), 0o755); err != nil {
		return nil, err
	}
	// Digits of chance: they compress to half their size, which makes both sides of a decompressor work.
	random := rand.NewChaCha8([32]byte{})
	for i := range 8 {
		f, err := os.Create(filepath.Join(dir, "prefix", "include", fmt.Sprintf("%d.h", i)))
		if err != nil {
			return nil, err
		}
		_, err = io.CopyN(hex.NewEncoder(f), random, 125e6/2)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
	}
	refs = map[string]string{}
	for _, compression := range []string{"zstd", "gzip"} {
		archive := filepath.Join(dir, compression+".tar")
		push := b.ours("push", "--quiet", "--no-upstream-tags", archive, b.host+"/bench/large-"+compression+":1")
		if err := b.ours("pack", "--quiet", filepath.Join(dir, "prefix"), "--name", "large", "--version", "1", "--compression", compression, "-o", archive).run(); err != nil {
			return nil, err
		}
		if err := push.run(); err != nil {
			return nil, err
		}
		refs[compression] = strings.TrimSpace(push.stdout.String())
	}
	return refs, nil
}

func (b *bench) coldGzip() ([]row, error) {
	oras, err := b.orasPull()
	if err != nil {
		return nil, err
	}
	return b.cold("gzip", &b.gzip, []contestant{oras, b.crane(&b.gzip)}, []float64{1.6, 0})
}

// library is an install prefix that is in the registry, too.
type library struct{ name, prefix, ref string }

// published packs and pushes a library, and gives its pinned reference. missing are SONAMEs that it needs and nobody here
// links.
func (b *bench) published(host string, l library, missing []string) (string, error) {
	dir, err := b.fresh()
	if err != nil {
		return "", err
	}
	archive := filepath.Join(dir, "library.tar")
	pack := []string{"pack", "--quiet", l.prefix, "--name", l.name, "--version", "1", "-o", archive}
	for _, soname := range missing {
		pack = append(pack, "--allow-missing", soname)
	}
	push := b.ours("push", "--quiet", "--no-upstream-tags", archive, host+"/bench/"+l.name+":1")
	if err := b.ours(pack...).run(); err != nil {
		return "", err
	}
	if err := push.run(); err != nil {
		return "", err
	}
	return strings.TrimSpace(push.stdout.String()), nil
}

// smallLibraries publishes a hundred of an archive and a header each.
func (b *bench) smallLibraries() ([]library, error) {
	archives, err := filepath.Glob(filepath.Join(b.tree, "lib", "libabsl_*.a"))
	if err != nil || len(archives) == 0 {
		return nil, fmt.Errorf("no small library in the sample (%v)", err)
	}
	var all []library
	for i := range 100 {
		dir, err := b.fresh()
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("small%d", i)
		prefix := filepath.Join(dir, "p")
		if err := errors.Join(os.MkdirAll(filepath.Join(prefix, "include"), 0o755), os.Mkdir(filepath.Join(prefix, "lib"), 0o755),
			os.WriteFile(filepath.Join(prefix, "include", name+".h"), []byte("#pragma once\n// "+name+"\n"), 0o644),
			copyFile(archives[i%len(archives)], filepath.Join(prefix, "lib", "lib"+name+".a"))); err != nil {
			return nil, err
		}
		l := library{name: name, prefix: prefix}
		if l.ref, err = b.published(b.host, l, nil); err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// small pulls a hundred small libraries, each by a process of its own as Bazel does, as many at a time as there are CPUs.
func (b *bench) small() ([]row, error) {
	libraries, err := b.smallLibraries()
	if err != nil {
		return nil, err
	}
	oras := filepath.Join(b.bin, "oras")
	for _, l := range libraries {
		if err := command(oras, "push", "--plain-http", b.host+"/bench/oras-"+l.name+":1", "p").in(filepath.Dir(l.prefix)).run(); err != nil {
			return nil, err
		}
	}
	all := func(one func(i int, dir string) error) func(string) (time.Duration, error) {
		return func(dir string) (time.Duration, error) {
			start := time.Now()
			var group errgroup.Group
			group.SetLimit(runtime.NumCPU())
			for i := range libraries {
				group.Go(func() error { return one(i, dir) })
			}
			err := group.Wait()
			return time.Since(start), err
		}
	}
	best, err := b.race(b.turns,
		contestant{"ocipkg pull", all(func(i int, dir string) error {
			return b.ours("pull", "--quiet", libraries[i].ref).with("OCIPKG_STORE=" + dir).run()
		})},
		contestant{"oras pull", all(func(i int, dir string) error {
			return command(oras, "pull", "--plain-http", "-o", filepath.Join(dir, fmt.Sprint(i)), fmt.Sprintf("%s/bench/oras-small%d:1", b.host, i)).run()
		})},
	)
	if err != nil {
		return nil, err
	}
	return []row{atLeast("100 small libraries, a process each: faster than `oras pull`", ratio(best[1], best[0]), 1,
		fmt.Sprintf(" (%s against %s)", seconds(best[0]), seconds(best[1])))}, nil
}

// warm pulls what is there from a registry that is not: its port is closed.
func (b *bench) warm() ([]row, error) {
	root, err := b.fresh()
	if err != nil {
		return nil, err
	}
	if err := b.ours("pull", "--quiet", b.zstd.ref).with("OCIPKG_STORE=" + root).run(); err != nil {
		return nil, err
	}
	_, name, _ := bytes.Cut([]byte(b.zstd.ref), []byte("/"))
	best, err := b.race(short*b.turns, contestant{"warm", func(string) (time.Duration, error) {
		p := b.ours("pull", "--quiet", "127.0.0.1:1/"+string(name)).with("OCIPKG_STORE=" + root)
		return p.took2(p.run())
	}})
	if err != nil {
		return nil, err
	}
	return []row{{"pinned and in the store, no registry: the whole process", seconds(best[0]), "at most 15 ms", best[0] <= 15*time.Millisecond}}, nil
}

func (b *bench) materialise() ([]row, error) {
	root, err := b.fresh()
	if err != nil {
		return nil, err
	}
	if err := b.ours("pull", "--quiet", b.zstd.ref).with("OCIPKG_STORE=" + root).run(); err != nil {
		return nil, err
	}
	s, err := store.Open(root)
	if err != nil {
		return nil, err
	}
	var trees []store.Tree
	type entry struct {
		from, to string
		dir      bool
		link     string
	}
	var list []entry
	for _, l := range b.zstd.layers {
		t, err := s.Tree(context.Background(), l.Digest)
		if err != nil {
			return nil, err
		}
		trees = append(trees, t)
		err = filepath.WalkDir(t.Path(), func(p string, d fs.DirEntry, err error) error {
			if err != nil || p == t.Path() {
				return err
			}
			rel, err := filepath.Rel(t.Path(), p)
			e := entry{from: p, to: rel, dir: d.IsDir()}
			if err == nil && d.Type() == fs.ModeSymlink {
				e.link, err = os.Readlink(p)
			}
			list = append(list, e)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	loop := func(name string, file func(from, to string) error) contestant {
		return contestant{name, func(dir string) (time.Duration, error) {
			start := time.Now()
			for _, e := range list {
				to := filepath.Join(dir, e.to)
				var err error
				switch {
				case e.dir:
					if err = os.Mkdir(to, 0o755); errors.Is(err, fs.ErrExist) {
						err = nil
					}
				case e.link != "":
					err = os.Symlink(e.link, to)
				default:
					err = file(e.from, to)
				}
				if err != nil {
					return 0, err
				}
			}
			return time.Since(start), nil
		}}
	}
	best, err := b.race(short*b.turns,
		contestant{"materialise", func(dir string) (time.Duration, error) {
			start := time.Now()
			_, err := store.Materialise(filepath.Join(dir, "r"), false, trees...)
			return time.Since(start), err
		}},
		loop("a bare loop of link(2)", os.Link),
		loop("copying", copyFile),
	)
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("%d files from the store: ", b.files)
	return []row{
		atMost(what+"time of a bare loop of link(2)", ratio(best[0], best[1]), 1.5, fmt.Sprintf(" (%s)", seconds(best[0]))),
		atLeast(what+"faster than copying", ratio(best[2], best[0]), 8, fmt.Sprintf(" (%s)", seconds(best[2]))),
	}, nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	// Not io.Copy between two files, which lets the kernel share extents where it can: that is no copy.
	if _, err := io.Copy(struct{ io.Writer }{out}, struct{ io.Reader }{in}); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// eight pulls the same image into one empty store from eight processes at once.
func (b *bench) eight() ([]row, error) {
	p, err := newProxy(b.host, b.zstd.layers)
	if err != nil {
		return nil, err
	}
	defer p.close()
	ref := p.host + b.zstd.ref[len(b.host):]
	many := func(n int) func(dir string) (time.Duration, error) {
		return func(dir string) (time.Duration, error) {
			start := time.Now()
			var group errgroup.Group
			for range n {
				group.Go(b.ours("pull", "--quiet", ref).with("OCIPKG_STORE=" + dir).run)
			}
			err := group.Wait()
			return time.Since(start), err
		}
	}
	best, err := b.race(b.turns, contestant{"one", many(1)}, contestant{"eight", many(8)})
	if err != nil {
		return nil, err
	}
	layers := int64(2 * b.turns) // each turn of either fetches each layer once
	downloads := float64(p.layerBytes.Load()) / float64(size(b.zstd.layers)*layers)
	return []row{
		atMost("8 processes, one digest, empty store: time of one", ratio(best[1], best[0]), 1.3, ""),
		{"8 processes, one digest, empty store: downloads", fmt.Sprintf("%.2f", downloads), "1", downloads < 1.01},
	}, nil
}

// cut breaks the connection of the largest layer once, at 90 % of its bytes.
func (b *bench) cut() ([]row, error) {
	p, err := newProxy(b.host, b.zstd.layers)
	if err != nil {
		return nil, err
	}
	defer p.close()
	largest := b.zstd.layers[0]
	for _, l := range b.zstd.layers {
		if l.Size > largest.Size {
			largest = l
		}
	}
	p.cut = largest.Digest.String()
	p.cutAt = largest.Size * 9 / 10
	dir, err := b.fresh()
	if err != nil {
		return nil, err
	}
	if err := b.ours("pull", "--quiet", p.host+b.zstd.ref[len(b.host):]).with("OCIPKG_STORE=" + dir).run(); err != nil {
		return nil, err
	}
	if !p.wasCut {
		return nil, errors.New("nothing was cut")
	}
	again := 100 * float64(p.layerBytes.Load()-size(b.zstd.layers)) / float64(size(b.zstd.layers))
	return []row{{"connection cut at 90 %: bytes fetched again", fmt.Sprintf("%.1f %%", max(again, 0)), "at most 12 %", again <= 12}}, nil
}

func (b *bench) packing() ([]row, error) {
	var mu sync.Mutex
	digests := map[string]bool{}
	n := 0
	best, err := b.race(b.turns,
		contestant{"ocipkg pack", func(dir string) (time.Duration, error) {
			p := b.pack("zstd", filepath.Join(dir, "sample.tar"))
			err := p.run()
			mu.Lock()
			defer mu.Unlock()
			digests[p.stdout.String()] = true
			return p.took, err
		}},
		contestant{"oras push", func(string) (time.Duration, error) {
			n++
			p := command(filepath.Join(b.bin, "oras"), "push", "--plain-http", fmt.Sprintf("%s/bench/turn%d:1", b.host, n), "tree").in(filepath.Dir(b.tree))
			return p.took2(p.run())
		}},
	)
	if err != nil {
		return nil, err
	}
	return []row{
		atLeast("pack: faster than `oras push` of the same folder", ratio(best[1], best[0]), 5, fmt.Sprintf(" (%s against %s)", seconds(best[0]), seconds(best[1]))),
		{"pack: digests of one tree", fmt.Sprint(len(digests)), "1", len(digests) == 1},
	}, nil
}

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Invariant: at whatever step the disk is full, of blocks or of inodes, that step says so, nothing half-done stays
// visible or in tmp, and everything goes through when there is room.
func TestFullAtEachStage(t *testing.T) {
	if !elsewhere(t, ownMounts()) {
		return
	}
	content := files{}
	for i := range 12 {
		content[fmt.Sprintf("lib/%d/lib%d.a", i%3, i)] = file{data: strings.Repeat("x", 5000*(i%4))}
	}
	var options []string
	for inodes := 6; inodes <= 80; inodes += 2 {
		options = append(options, fmt.Sprintf("size=8m,nr_inodes=%d", inodes))
	}
	for kib := 4; kib <= 400; kib += 12 {
		options = append(options, fmt.Sprintf("size=%dk,nr_inodes=1000", kib))
	}
	stages := map[string]int{} // how often each was the one to fail
	for _, option := range options {
		root := t.TempDir()
		mount(t, root, 0, option)
		stage, err := fillUp(t, root, content)
		stages[stage]++
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %s: %v", option, stage, err)
		}
		if err != nil && !strings.Contains(err.Error(), "no space left") {
			t.Errorf("%s: %s does not say why: %v", option, stage, err)
		}
		// Look again as the next process would.
		s, err := Open(root)
		if err != nil {
			if stage != "open" {
				t.Errorf("%s: %s: the store does not open again: %v", option, stage, err)
			}
			_ = syscall.Unmount(root, syscall.MNT_DETACH)
			continue
		}
		for _, dir := range []string{"tmp", "locks"} {
			if left := below(t, s, dir); len(left) > 0 {
				t.Errorf("%s: %s: left in %s: %v", option, stage, dir, left)
			}
		}
		if tree, err := s.Tree(t.Context(), seedDigest(1)); err == nil {
			if err := errors.Join(content.check(tree.Path()), s.VerifyTree(t.Context(), seedDigest(1))); err != nil {
				t.Errorf("%s: %s: %v", option, stage, err)
			}
			tree.Release()
		}
		views, err := s.Views()
		if err != nil {
			t.Error(err)
		}
		for _, v := range views {
			checkView(t, filepath.Join(root, filepath.FromSlash(v.Path)), content)
		}
		blobs, err := s.Blobs()
		if err != nil {
			t.Error(err)
		}
		for _, o := range blobs {
			if err := s.VerifyBlob(o.Digest); err != nil {
				t.Errorf("%s: %s: %v", option, stage, err)
			}
		}
		// With room, what failed goes through.
		if err := syscall.Mount("", root, "", syscall.MS_REMOUNT, "size=8m,nr_inodes=1000"); err != nil {
			t.Skip("SKIPPED, cannot remount:", err)
		}
		if stage, err := fillUp(t, root, content); err != nil {
			t.Errorf("%s: with room, %s: %v", option, stage, err)
		}
		_ = syscall.Unmount(root, syscall.MNT_DETACH)
	}
	t.Logf("failed at: %v", stages)
	for _, stage := range []string{"open", "blob", "tree", "view", ""} {
		if stages[stage] == 0 {
			t.Errorf("no disk was full at stage %q: %v", stage, stages)
		}
	}
}

// fillUp goes through everything that writes and returns the first stage that fails; "" and nil if none does.
func fillUp(t *testing.T, root string, content files) (stage string, err error) {
	t.Helper()
	s, err := Open(root)
	if err != nil {
		return "open", err
	}
	d, err := s.PutBlob([]byte(strings.Repeat("{}", 3000)))
	if err != nil {
		return "blob", err
	}
	if err := s.SetName("n", d); err != nil {
		return "name", err
	}
	tree, err := s.AddTree(t.Context(), seedDigest(1), nil, content.fill)
	if err != nil {
		if _, err := s.Tree(t.Context(), seedDigest(1)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a tree that could not be made is visible: %v", err)
		}
		return "tree", err
	}
	defer tree.Release()
	if _, err := s.PutView(t.Context(), "example.com/a/__1", d, false, tree); err != nil {
		return "view", err
	}
	return "", nil
}

package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/registry"
)

// packedLayout is what `ocipkg pack --json` prints.
type packedLayout struct {
	Digest  string            `json:"digest"` // of the manifest
	Layout  string            `json:"layout"` // the archive or folder that was written
	Package *artifact.Package `json:"package"`
	LeftOut []string          `json:"leftOut,omitempty"` // files that are neither headers nor libraries
}

func newPack() *cobra.Command {
	var out output
	var claims artifact.Claims
	var output, tag, compression string
	cmd := &cobra.Command{
		Use:   "pack DIR -o OUTPUT",
		Short: "Pack an install prefix into an artifact",
		Long: `Pack the headers and libraries of DIR into an OCI layout: a tar archive where OUTPUT ends in
.tar, else a folder.

DIR is an install prefix as "make install DESTDIR=…" or "cmake --install" leaves it: include/,
lib/ or lib64/ (lib/<multiarch>/ too), lib/pkgconfig/, share/licenses/; or a flat folder of
headers and libraries. Links have to be relative.

Architecture, C library, SONAMEs, needed libraries and symbol versions are read from the files.
The same files give the same digest on any machine.`,
		Example: `  ocipkg pack ./prefix --name zlib --version 1.3.1 --license Zlib -o zlib.tar
  ocipkg pack ./prefix --tag ghcr.io/acme/zlib:1.3.1 -o zlib.tar && ocipkg push zlib.tar`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t := newTalk(cmd)
			if output == "" {
				return &diagnostic.Error{Kind: diagnostic.Usage, What: "pack " + args[0], Why: "no output is named", Do: "add -o NAME.tar"}
			}
			if compression != string(artifact.Zstd) && compression != string(artifact.Gzip) {
				return &diagnostic.Error{Kind: diagnostic.Usage, What: "--compression " + compression, Why: "it is neither zstd nor gzip"}
			}
			if tag != "" {
				ref, err := registry.ParseReference(tag)
				if err != nil {
					return err
				}
				tag = ref.String()
			}
			prefix, err := os.OpenRoot(args[0])
			if err != nil {
				return &diagnostic.Error{Kind: diagnostic.NotFound, What: "pack " + args[0], Err: err, Do: "name a folder with include/ and lib/"}
			}
			defer prefix.Close()
			layout, err := artifact.CreateLayout(output)
			if err != nil {
				return err
			}
			defer layout.Close()
			packed, err := artifact.Pack(prefix.FS(), claims, artifact.Compression(compression), layout)
			if err != nil {
				return err
			}
			layout.Add(packed.Manifest, tag)
			if err := layout.Commit(); err != nil {
				return err
			}
			describePacked(t, packed)
			t.printf("wrote %s", output)
			digest := packed.Manifest.Digest.String()
			return out.print(t, packedLayout{Digest: digest, Layout: output, Package: packed.Package, LeftOut: packed.LeftOut}, digest)
		},
	}
	out.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&output, "output", "o", "", "where to write: NAME.tar or a folder")
	f.StringVar(&claims.Name, "name", "", "name of the library (default: that of the only .pc file)")
	f.StringVar(&claims.Version, "version", "", "version (default: that of the .pc files)")
	f.StringVar(&claims.License, "license", "", "licence, an SPDX expression")
	f.StringVar(&claims.Target, "target", "", "target triple; checked against the files (default: read from them)")
	f.StringArrayVar(&claims.Defines, "define", nil, "preprocessor definition that consumers need, such as ZLIB_CONST=1; may be repeated")
	f.StringArrayVar(&claims.Linkopts, "linkopt", nil, "linker flag that consumers need; may be repeated")
	f.StringArrayVar(&claims.AllowMissing, "allow-missing", nil, "SONAME that a library needs and the consumer brings; may be repeated")
	f.StringVarP(&tag, "tag", "t", "", "reference that \"ocipkg push\" takes by default")
	f.StringVar(&compression, "compression", string(artifact.Zstd), "zstd, or gzip for readers that know no zstd")
	return cmd
}

func describePacked(t *talk, packed *artifact.Packed) {
	p := packed.Package
	t.printf("packed %s for %s", strings.TrimSpace(p.Name+" "+p.Version), orAny(p.Target))
	for _, l := range p.Libraries {
		if s := l.Static; s != nil {
			t.printf("  %s", s.Path)
			switch s.PIC {
			case "pie":
				t.printf("    fits executables, not shared objects (%s); build it with -fPIC to change that", s.Reason)
			case "none":
				t.printf("    fits only executables linked with -no-pie (%s); build it with -fPIC to change that", s.Reason)
			}
		}
		if s := l.Shared; s != nil {
			t.printf("  %s", s.Path)
		}
	}
	for _, soname := range p.Missing {
		t.printf("  needs %s, which the consumer has to bring", soname)
	}
	if n := len(packed.LeftOut); n > 0 {
		shown := packed.LeftOut
		if n > 5 {
			shown = shown[:5]
		}
		t.printf("left out %d files that are neither headers nor libraries, such as %v", n, shown)
	}
}

func orAny(target string) string {
	if target == "" {
		return "any platform"
	}
	return target
}

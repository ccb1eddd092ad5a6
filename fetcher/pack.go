package main

import (
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
	"github.com/ocipkg/rules_ocipkg/internal/library"
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
	var output, tag, compression, description, list, digestFile string
	var requires, dependencies, layouts, inspected []string
	var offline bool
	cmd := &cobra.Command{
		Use:   "pack [DIR|FILE...] -o OUTPUT",
		Short: "Pack an install prefix, or single files, into an artifact",
		Long: `Pack the headers and libraries of DIR into an OCI layout: a tar archive where OUTPUT ends in
.tar, else a folder.

DIR is an install prefix as "make install DESTDIR=…" or "cmake --install" leaves it: include/,
lib/ or lib64/ (lib/<multiarch>/ too), lib/pkgconfig/, share/licenses/; or a flat folder of
headers and libraries. Links have to be relative. In place of DIR, single FILEs can be named:
headers, libraries, .pc files and licences.

Where DIR is laid out otherwise, --header and --library say which files to take, and
--description names a JSON file that says the same and more; flags add to it and go before it.

Libraries of other artifacts that these need are named with --dependency, by digest; which of
them, is read from the files. A needed library that nobody has is an error. Where the other
artifact is at hand, --dependency-layout or --dependency-inspected names it, and no registry is
asked; with --offline, none is for any dependency.

A build system that has its files in many places names them in a JSON object of places in an
install prefix and files, or folders, {"include/z.h": "src/z.h"}, and gives that as --files in
place of DIR. All of them have to be of use.

Architecture, C library, SONAMEs, needed libraries and symbol versions are read from the files.
The same files give the same digest on any machine. One artifact is for one platform; "ocipkg
push" gives several of them one name.`,
		Example: `  ocipkg pack ./prefix --name zlib --version 1.3.1 --license Zlib -o zlib.tar
  ocipkg pack libz.a zlib.h zconf.h --name zlib --version 1.3.1 -o zlib.tar
  ocipkg pack . --header src/api --library 'build/libz.*' --name zlib -o zlib.tar
  ocipkg pack --files files.json --name zlib -o zlib.tar
  ocipkg pack ./prefix --image ghcr.io/acme/zlib:1.3.1 -o zlib.tar && ocipkg push zlib.tar`,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := newTalk(cmd)
			if (len(args) == 0) == (list == "") {
				return &diagnostic.Error{Kind: diagnostic.Usage, What: strings.TrimSpace("pack " + strings.Join(args, " ")), Why: "either a folder, or files, or --files has to say what is packed", Do: "name an install prefix: ocipkg pack DIR -o NAME.tar"}
			}
			if output == "" {
				return &diagnostic.Error{Kind: diagnostic.Usage, What: strings.TrimSpace("pack " + strings.Join(args, " ")), Why: "no output is named", Do: "add -o NAME.tar"}
			}
			if compression != string(artifact.Zstd) && compression != string(artifact.Gzip) {
				return &diagnostic.Error{Kind: diagnostic.Usage, What: "--compression " + compression, Why: "it is neither zstd nor gzip", Do: "write one of the two"}
			}
			if tag != "" {
				ref, err := registry.ParseReference(tag)
				if err != nil {
					return err
				}
				if ref.Pinned() {
					return &diagnostic.Error{Kind: diagnostic.Usage, What: "--image " + tag, Why: "it has a digest, which is only known when it is packed", Do: "leave the digest out"}
				}
				tag = ref.String()
			}
			for _, r := range requires {
				library, needs, ok := strings.Cut(r, "=")
				if !ok {
					return &diagnostic.Error{Kind: diagnostic.Usage, What: "--requires " + r, Why: "it is not LIBRARY=LIBRARY", Do: "write --requires ssl=crypto: names as they follow -l"}
				}
				if claims.Requires == nil {
					claims.Requires = map[string][]string{}
				}
				claims.Requires[library] = append(claims.Requires[library], needs)
			}
			for _, d := range dependencies {
				name, image, ok := strings.Cut(d, "=")
				if !ok {
					return &diagnostic.Error{Kind: diagnostic.Usage, What: "--dependency " + d, Why: "it is not NAME=IMAGE", Do: "write --dependency zlib=ghcr.io/acme/zlib:1.3.1@sha256:…"}
				}
				if claims.Dependencies == nil {
					claims.Dependencies = map[string]string{}
				}
				claims.Dependencies[name] = image
			}
			all := claims
			if description != "" {
				data, err := os.ReadFile(description)
				if err != nil {
					return &diagnostic.Error{Kind: diagnostic.NotFound, What: "description " + description, Err: err}
				}
				described, err := artifact.ParseDescription(data)
				if err != nil {
					return diagnostic.Wrap(err, "%s", description)
				}
				all = described.With(claims)
			}
			known, err := knownDependencies(layouts, inspected)
			if err != nil {
				return err
			}
			open := func() (*library.Depot, error) { return newDepot(t, "describe dependencies") }
			if offline {
				open = nil
			}
			if all.Dependencies, all.Dependency, err = library.Dependencies(cmd.Context(), all.Dependencies, known, open); err != nil {
				return err
			}
			files, done, err := sources(args, list)
			if err != nil {
				return err
			}
			defer done()
			layout, err := artifact.CreateLayout(output)
			if err != nil {
				return err
			}
			defer layout.Close()
			packed, err := artifact.Pack(files, all, artifact.Compression(compression), layout)
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
			return out.printDigest(t, digestFile, packedLayout{Digest: digest, Layout: output, Package: packed.Package, LeftOut: packed.LeftOut}, digest)
		},
	}
	out.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&output, "output", "o", "", "where to write: NAME.tar or a folder")
	f.StringVar(&list, "files", "", "JSON file that says which file is where in a prefix, in place of DIR")
	f.StringVar(&digestFile, "digest-file", "", "file to write the digest to, in place of standard output")
	f.StringVar(&description, "description", "", "JSON file that describes the library (docs/packing.md)")
	f.StringVar(&claims.Name, "name", "", "name of the library (default: that of the only .pc file)")
	f.StringVar(&claims.Version, "version", "", "version (default: that of the .pc files)")
	f.BoolVar(&claims.PIC, "pic", false, "refuse static libraries whose code does not fit shared objects")
	f.StringVar(&claims.License, "license", "", "licence, an SPDX expression")
	f.StringVar(&claims.Target, "target", "", "target triple; checked against the files (default: read from them)")
	f.StringArrayVar(&claims.Selection.Headers, "header", nil, "folder whose headers, or file in DIR that, go into include/; may be repeated")
	f.StringArrayVar(&claims.Selection.Libraries, "library", nil, "file in DIR that is a library, or several with *; may be repeated")
	f.StringArrayVar(&claims.Includes, "include", nil, "folder of the artifact to search for headers (default: include); may be repeated")
	f.StringArrayVar(&claims.Defines, "define", nil, "preprocessor definition that consumers need, such as ZLIB_CONST=1; may be repeated")
	f.StringArrayVar(&claims.Linkopts, "linkopt", nil, "linker flag that consumers need; may be repeated")
	f.StringArrayVar(&claims.SystemLibraries, "system-library", nil, "library that every such platform has and this one needs, such as m; may be repeated")
	f.StringArrayVar(&requires, "requires", nil, "LIBRARY=LIBRARY: one library of the artifact needs another one, where that cannot be read from them; may be repeated")
	f.StringArrayVar(&claims.AlwaysLink, "always-link", nil, "library whose archive is linked whole, because objects of it do their work by being there; may be repeated")
	f.StringArrayVar(&claims.AllowMissing, "allow-missing", nil, "SONAME that a library needs and the consumer brings; may be repeated")
	f.StringArrayVar(&dependencies, "dependency", nil, "NAME=IMAGE: another artifact, with its digest, that the libraries need; may be repeated")
	f.StringArrayVar(&layouts, "dependency-layout", nil, "IMAGE=LAYOUT: another artifact, which lies in LAYOUT and is pushed as IMAGE, without its digest; may be repeated")
	f.StringArrayVar(&inspected, "dependency-inspected", nil, "file that \"ocipkg inspect --json\" wrote of another artifact; may be repeated")
	f.BoolVar(&offline, "offline", false, "ask no registry: each dependency has to be given by its layout or file")
	f.StringVar(&tag, "image", "", "reference that \"ocipkg push\" takes by default, and the ocipkg project's command always")
	f.StringVar(&compression, "compression", string(artifact.Zstd), "zstd, or gzip for readers that know no zstd")
	return cmd
}

// knownDependencies reads the dependencies that no registry has to be asked for.
func knownDependencies(layouts, inspected []string) (known []library.Known, err error) {
	for _, text := range layouts {
		image, layout, ok := strings.Cut(text, "=")
		if !ok {
			return nil, &diagnostic.Error{Kind: diagnostic.Usage, What: "--dependency-layout " + text, Why: "it is not IMAGE=LAYOUT", Do: "write --dependency-layout ghcr.io/acme/zlib=zlib.tar"}
		}
		k, err := library.KnownFromLayout(image, layout)
		if err != nil {
			return nil, err
		}
		known = append(known, k)
	}
	for _, file := range inspected {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, &diagnostic.Error{Kind: diagnostic.NotFound, What: "dependency " + file, Err: err, Do: "write the file with `ocipkg inspect --json IMAGE`, where IMAGE has its digest"}
		}
		k, err := library.KnownFromInspection(data)
		if err != nil {
			return nil, diagnostic.Wrap(err, "%s", file)
		}
		known = append(known, k)
	}
	return known, nil
}

// sources opens what is to be packed: a folder, or files, or what a list names.
func sources(args []string, list string) (files fs.FS, done func() error, err error) {
	done = func() error { return nil }
	if list != "" {
		data, err := os.ReadFile(list)
		if err != nil {
			return nil, nil, &diagnostic.Error{Kind: diagnostic.NotFound, What: "list of files " + list, Err: err}
		}
		places, err := artifact.ParsePlaces(data)
		if err != nil {
			return nil, nil, diagnostic.Wrap(err, "%s", list)
		}
		files, err = artifact.Place(places)
		return files, done, err
	}
	if len(args) == 1 {
		if info, err := os.Stat(args[0]); err != nil || info.IsDir() {
			prefix, err := os.OpenRoot(args[0])
			if err != nil {
				return nil, nil, &diagnostic.Error{Kind: diagnostic.NotFound, What: "pack " + args[0], Err: err, Do: "name a folder with include/ and lib/"}
			}
			return prefix.FS(), prefix.Close, nil
		}
	}
	files, err = artifact.Files(args)
	return files, done, err
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
			if s.Interface != "" {
				t.printf("  %s, which leads to it", s.Interface)
			}
		}
	}
	for _, d := range p.Dependencies {
		needed := "for its headers or static libraries"
		if len(d.Needed) > 0 {
			needed = "for " + strings.Join(d.Needed, ", ")
		}
		t.printf("  needs %s, %s", d.Name, needed)
	}
	for _, soname := range p.Missing {
		t.printf("  needs %s, which the consumer has to bring", soname)
	}
	for _, place := range packed.Texts {
		t.warnf("%s holds text, such as a linker script, and links nothing", place)
	}
	if n := len(packed.LeftOut); n > 0 {
		t.printf("left out %d files that are neither headers nor libraries, such as %s", n, strings.Join(packed.LeftOut[:min(n, 5)], ", "))
	}
}

func orAny(target string) string {
	if target == "" {
		return "any platform"
	}
	return target
}

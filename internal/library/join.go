package library

import (
	"github.com/ocipkg/rules_ocipkg/internal/artifact"
	"github.com/ocipkg/rules_ocipkg/internal/diagnostic"
)

// Join writes one layout at dest with what the layouts at paths hold, each for another platform, and an index of it: the
// one that Push makes of them. It returns the index's descriptor and the triples in the order of the paths.
func Join(paths []string, dest string) (artifact.Descriptor, []string, error) {
	desc, targets, err := join(paths, dest)
	return desc, targets, diagnostic.Wrap(err, "join %s", dest)
}

func join(paths []string, dest string) (desc artifact.Descriptor, targets []string, err error) {
	var artifacts []artifact.Artifact
	for _, p := range paths {
		layout, err := artifact.OpenLayout(p)
		if err != nil {
			return desc, nil, err
		}
		defer layout.Close()
		some, err := layout.Artifacts()
		if err != nil {
			return desc, nil, err
		}
		artifacts = append(artifacts, some...)
	}
	w, err := artifact.CreateLayout(dest)
	if err != nil {
		return desc, nil, err
	}
	defer w.Close()
	if desc, err = artifact.Combine(artifacts, w); err != nil {
		return desc, nil, err
	}
	for _, a := range artifacts {
		if t, ok := a.Target(); ok {
			targets = append(targets, t.String())
		}
	}
	return desc, targets, w.Commit()
}

// Package artifact is the format: what a library looks like as an OCI artifact, from a directory tree to layers and back.
//
// Invariant: an artifact is a function of the tree it was packed from and of nothing else (no clock, user, machine or
// order of reading), and every fact in its config was measured from the bytes in its layers. Bytes that come back out
// of a layer never leave the directory they are unpacked into.
//
// It takes facts from internal/native, and hands manifests and blobs to whoever moves them (internal/registry) and
// trees to whoever keeps them (internal/store); it knows neither networks nor Bazel.
package artifact

// Media types. The V1 types are those of the ocipkg project, read and written by its version 0.3 and later; the zstd
// layer is ours. V0 artifacts (its versions 0.1 and 0.2) are plain OCI images.
const (
	TypeArtifact  = "application/vnd.ocipkg.v1.artifact"
	TypeConfig    = "application/vnd.ocipkg.v1.config+json"
	TypeLayerZstd = "application/vnd.ocipkg.v1.layer.tar+zstd"
	TypeLayerGzip = "application/vnd.ocipkg.v1.layer.tar+gzip"

	TypeManifest   = "application/vnd.oci.image.manifest.v1+json"
	TypeIndex      = "application/vnd.oci.image.index.v1+json"
	TypeV0Config   = "application/vnd.oci.image.config.v1+json"
	TypeV0Layer    = "application/vnd.oci.image.layer.v1.tar"
	TypeV0Gzip     = "application/vnd.oci.image.layer.v1.tar+gzip"
	TypeDockerGzip = "application/vnd.docker.image.rootfs.diff.tar.gzip"

	typeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	typeDockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// AnnotationTarget holds the target triple on a descriptor of an index.
const AnnotationTarget = "vnd.ocipkg.target"

// annotationRefName names an image in a layout's index.json (image-spec, annotations.md). Its value here is the full
// reference, host and all, because the ocipkg project reads it so.
const annotationRefName = "org.opencontainers.image.ref.name"

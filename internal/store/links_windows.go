package store

import "io/fs"

type inode struct{}

// links cannot tell without opening every file; the workspace keeps its links, and the store fetches again.
func links(fs.FileInfo) (inode, uint64, bool) { return inode{}, 0, false }

module example.com/gazelle_cgo

go 1.26

require (
	github.com/DataDog/zstd v1.5.7
	github.com/mattn/go-sqlite3 v1.14.32
)

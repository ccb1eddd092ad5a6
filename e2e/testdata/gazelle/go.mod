module example.com/gazelle_cgo

go 1.26

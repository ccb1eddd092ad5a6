module example.com/go_sqlite3

go 1.26

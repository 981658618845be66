// Package drivers is imported for the databases that the sample database then reaches: SQLite and
// PostgreSQL. They are 7.5 MB of a program, which is why not every one has them.
package drivers

import (
	_ "github.com/jackc/pgx/v5/stdlib" // pgx
	_ "modernc.org/sqlite"             // sqlite
)

package samples

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/hark-push/hark/processor"
)

// DatabaseOptions of [NewDatabase].
type DatabaseOptions struct {
	// DSN says where records are written: postgres://user:password@host/name, or
	// sqlite:///path/to/file. Required.
	DSN string
	// Table they are written into, which is made if it is not there. Default "records".
	Table string
	// Timeout of one write. Default 30 seconds.
	Timeout time.Duration
}

// dialect is what databases do not agree on.
type dialect struct {
	driver string
	create string // the table
	insert string // a record, unless it is there
	most   int    // connections
}

var dialects = map[string]dialect{
	"postgres": {
		driver: "pgx",
		create: `CREATE TABLE IF NOT EXISTS %s (id text NOT NULL, submitted_at timestamptz NOT NULL, submitter text NOT NULL, record jsonb NOT NULL, PRIMARY KEY (id, submitted_at))`,
		insert: `INSERT INTO %s (id, submitted_at, submitter, record) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
		most:   8,
	},
	"sqlite": {
		driver: "sqlite",
		create: `CREATE TABLE IF NOT EXISTS %s (id TEXT NOT NULL, submitted_at TEXT NOT NULL, submitter TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (id, submitted_at))`,
		insert: `INSERT INTO %s (id, submitted_at, submitter, record) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		most:   1, // it has one writer at a time
	},
}

// Database writes records; see [NewDatabase].
type Database struct {
	dialect dialect
	db      *sql.DB
	timeout time.Duration
	log     *slog.Logger
}

// NewDatabase returns a handler that writes its content, which is any JSON, into a table, with the
// request's id, when it was submitted and by whom. The result is JSON {"id": "…", "written": true};
// written is false if an attempt before had written it already, which is told by the id and the
// time of the submission: an id that is used again names another record.
//
// The driver of the database has to be there, as package drivers brings it. The log is told why a
// record was not written, which users are not. Close ends it.
//
// Codes of failures: "bad-content", "bad-options" (a query), "refused" (the database
// does not take this record, ever) and "unavailable" (tried again).
func NewDatabase(o DatabaseOptions, log *slog.Logger) (*Database, error) {
	kind, dsn, err := splitDSN(o.DSN)
	if err != nil {
		return nil, err
	}
	table := cmp.Or(o.Table, "records")
	if !tableName.MatchString(table) {
		return nil, errors.New("samples: this is no name of a table")
	}
	d := dialects[kind]
	db, err := sql.Open(d.driver, dsn)
	if err != nil {
		// The text may hold the password.
		return nil, errors.New("samples: the database cannot be opened with this DSN")
	}
	db.SetMaxOpenConns(d.most)
	db.SetConnMaxIdleTime(time.Minute)
	quoted := `"` + strings.ReplaceAll(table, ".", `"."`) + `"`
	d.create, d.insert = fmt.Sprintf(d.create, quoted), fmt.Sprintf(d.insert, quoted)
	return &Database{dialect: d, db: db, timeout: cmp.Or(max(o.Timeout, 0), 30*time.Second), log: log}, nil
}

// tableName is that of a table, maybe in a schema.
var tableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?$`)

// splitDSN tells the databases apart, and returns what the driver wants to have.
func splitDSN(dsn string) (kind, rest string, err error) {
	scheme, rest, _ := strings.Cut(dsn, "://")
	switch {
	case (scheme == "postgres" || scheme == "postgresql") && rest != "":
		return "postgres", dsn, nil
	case scheme == "sqlite" && rest != "" && !strings.ContainsAny(rest, "?#%"):
		// Who finds it locked waits, and readers of others hold nobody up.
		return "sqlite", "file:" + rest + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)", nil
	}
	return "", "", errors.New("samples: this DSN is neither postgres://… nor sqlite://…")
}

// Close closes the connections.
func (h *Database) Close() error { return h.db.Close() }

// Process writes one record.
func (h *Database) Process(ctx context.Context, job *processor.Job) (processor.Result, error) {
	if _, err := queryOf(job, "database"); err != nil {
		return processor.Result{}, err
	}
	var record json.RawMessage
	if err := job.Decode(&record); err != nil {
		return processor.Result{}, err
	}
	if err := job.Progress(ctx, "writing", 10, "Writing the record"); err != nil {
		return processor.Result{}, err
	}
	limited, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	written, err := h.write(limited, job, record)
	if err != nil {
		h.log.LogAttrs(ctx, slog.LevelWarn, "a record was not written", slog.String("request", job.ID), slog.Any("error", err))
		return processor.Result{}, explainDatabase(ctx, err)
	}
	return processor.JSON(map[string]any{"id": job.ID, "written": written})
}

// write reports whether the record is new. Where there is no table yet it makes one: a database
// that was away when this began has it afterwards, and a user who may only insert needs no more.
func (h *Database) write(ctx context.Context, job *processor.Job, record json.RawMessage) (bool, error) {
	at := any(job.SubmittedAt.UTC())
	if h.dialect.driver == "sqlite" {
		at = job.SubmittedAt.UTC().Format("2006-01-02T15:04:05.000000000Z") // which sorts
	}
	insert := func() (sql.Result, error) {
		return h.db.ExecContext(ctx, h.dialect.insert, job.ID, at, job.Subject, string(record))
	}
	done, err := insert()
	if noTable(err) {
		// Of several that make it at once only one succeeds, and the others have it, too.
		_, failed := h.db.ExecContext(ctx, h.dialect.create)
		if done, err = insert(); err != nil {
			err = errors.Join(err, failed)
		}
	}
	if err != nil {
		return false, err
	}
	n, err := done.RowsAffected()
	return n > 0, err
}

// explainDatabase puts an error of the database into a class. Its text may name hosts, users and
// tables, so it is for the log alone.
func explainDatabase(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if refusedForGood(err) {
		return processor.Fail("refused", "The database does not take this record.", nil)
	}
	return processor.RetryAfter(0, processor.Fail("unavailable", "The database cannot be reached, or cannot write now.", nil))
}

// refusedForGood reports whether the record is what is wrong: of PostgreSQL the classes of SQLSTATE
// 22 (data), 23 (a constraint) and 54 (too large), of SQLite the codes for the same.
func refusedForGood(err error) bool {
	switch state, code := codesOf(err); {
	case strings.HasPrefix(state, "22"), strings.HasPrefix(state, "23"), strings.HasPrefix(state, "54"):
		return true
	default:
		const tooBig, constraint, mismatch = 18, 19, 20
		return code == tooBig || code == constraint || code == mismatch
	}
}

// noTable reports whether the table is not there.
func noTable(err error) bool {
	state, code := codesOf(err)
	return state == "42P01" || code == 1 && strings.Contains(err.Error(), "no such table")
}

// codesOf returns what a database says of an error: the SQLSTATE of PostgreSQL, or the code of
// SQLite.
func codesOf(err error) (state string, code int) {
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		state = e.SQLState()
	}
	if e, ok := errors.AsType[interface {
		error
		Code() int
	}](err); ok {
		code = e.Code() & 0xff // an extended code has the plain one in its last byte
	}
	return state, code
}

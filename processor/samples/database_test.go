package samples

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
	_ "github.com/hark-push/hark/processor/samples/drivers"
	"github.com/hark-push/hark/servertest"
)

// record is a row as it was written.
type record struct{ id, submitter, record string }

// eachDatabase runs a test on SQLite and on PostgreSQL, where that is installed.
func eachDatabase(t *testing.T, test func(t *testing.T, dsn string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite://"+filepath.Join(t.TempDir(), "records.db")) })
	t.Run("postgres", func(t *testing.T) { test(t, servertest.Postgres(t).URL) })
}

// newDatabase opens a sample.
func newDatabase(t *testing.T, dsn, table string) *Database {
	h, err := NewDatabase(DatabaseOptions{DSN: dsn, Table: table}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// rows returns what stands in a table.
func rows(t *testing.T, db *sql.DB, table string) (all []record) {
	t.Helper()
	found, err := db.QueryContext(t.Context(), `SELECT id, submitter, record FROM `+table+` ORDER BY id, submitted_at`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		var r record
		if err := found.Scan(&r.id, &r.submitter, &r.record); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// writeRecord is an attempt at a request that was submitted at a second, and whether it wrote.
func writeRecord(ctx context.Context, h processor.Handler, id string, second int64, content string) (bool, error) {
	job := processor.NewJob(lifecycle.Request{ID: id, Owner: "ann", CreatedAt: time.Unix(second, 1_000_000)},
		lifecycle.Content{Type: "application/json", Data: []byte(content)}, nil)
	result, err := h.Process(ctx, job)
	if err != nil {
		return false, err
	}
	var answer struct {
		ID      string `json:"id"`
		Written bool   `json:"written"`
	}
	if err := json.Unmarshal(result.Data, &answer); err != nil || answer.ID != id {
		return false, fmt.Errorf("%s, %w", result.Data, err)
	}
	return answer.Written, nil
}

// TestDatabaseWritesOnce: each request is one row, however often and by however many it is
// attempted; an id that is used again is another row.
func TestDatabaseWritesOnce(t *testing.T) {
	eachDatabase(t, func(t *testing.T, dsn string) {
		processes := []*Database{newDatabase(t, dsn, ""), newDatabase(t, dsn, "")}
		var attempts sync.WaitGroup
		var mu sync.Mutex
		wrote := 0
		for i := range 16 {
			attempts.Go(func() { // the table is made by whoever comes first
				written, err := writeRecord(t.Context(), processes[i%2], "a", 1000, `{"n": 1}`)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if written {
					wrote++
				}
			})
		}
		attempts.Wait()
		if wrote != 1 {
			t.Errorf("%d attempts say that they have written", wrote)
		}
		for _, next := range []struct {
			id      string
			second  int64
			content string
			written bool
		}{{"a", 1000, `{"n": 2}`, false}, {"a", 2000, `{"n": 3}`, true}, {"b", 1000, `[1, "x"]`, true}} {
			if written, err := writeRecord(t.Context(), processes[0], next.id, next.second, next.content); err != nil || written != next.written {
				t.Errorf("%+v: %t, %v", next, written, err)
			}
		}
		want := []record{{"a", "ann", `{"n": 1}`}, {"a", "ann", `{"n": 3}`}, {"b", "ann", `[1, "x"]`}}
		if got := rows(t, processes[1].db, "records"); !slices.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
}

// TestDatabaseErrors: a record that the database never takes ends the request; all else is tried
// again, and no error tells where the database is.
func TestDatabaseErrors(t *testing.T) {
	eachDatabase(t, func(t *testing.T, dsn string) {
		h := newDatabase(t, dsn, "strict")
		if _, err := h.db.ExecContext(t.Context(), `CREATE TABLE strict (id text, submitted_at timestamptz, `+
			`submitter text CHECK (submitter <> 'ann'), record jsonb, PRIMARY KEY (id, submitted_at))`); err != nil {
			t.Fatal(err)
		}
		if _, err := writeRecord(t.Context(), h, "first", 1, `{}`); code(err) != "refused" || tried(t, err) {
			t.Errorf("a constraint: %v", err)
		}
		if _, err := h.db.ExecContext(t.Context(), `ALTER TABLE strict RENAME COLUMN record TO other`); err != nil {
			t.Fatal(err)
		}
		if _, err := writeRecord(t.Context(), h, "second", 1, `{}`); code(err) != "unavailable" || !tried(t, err) {
			t.Errorf("another table: %v", err)
		}
		_ = h.Close()
		_, err := writeRecord(t.Context(), h, "third", 1, `{}`)
		if code(err) != "unavailable" || !tried(t, err) || strings.Contains(err.Error(), "sql") {
			t.Errorf("closed: %v", err)
		}
	})
	for name, dsn := range map[string]string{
		"nobody there": "postgres://ann:secret@127.0.0.1:1/db",
		"no folder":    "sqlite://" + filepath.Join(t.TempDir(), "none", "records.db"),
	} {
		_, err := writeRecord(t.Context(), newDatabase(t, dsn, ""), "a", 1, `{}`)
		if code(err) != "unavailable" || !tried(t, err) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "127") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDatabaseTakesJSON: what is no JSON, and a query, are refused before anything is written.
func TestDatabaseTakesJSON(t *testing.T) {
	h := newDatabase(t, "sqlite://"+filepath.Join(t.TempDir(), "records.db"), "")
	for _, test := range []struct{ kind, data, query, want string }{
		{"application/octet-stream", `{}`, "", "bad-content"},
		{"application/json", `{`, "", "bad-content"},
		{"application/vnd.x+json", `{"a":1}x`, "", "bad-content"},
		{"application/json", `{}`, "table=users", "bad-options"},
	} {
		_, steps, err := do(t.Context(), h, lifecycle.Content{Type: test.kind, Data: []byte(test.data)}, test.query)
		if code(err) != test.want || len(steps) > 0 {
			t.Errorf("%+v: %v after %v", test, err, steps)
		}
	}
}

// TestDatabaseFlags: there is no sample without a DSN, and no error shows a password.
func TestDatabaseFlags(t *testing.T) {
	for _, test := range []struct{ dsn, table, says string }{
		{"postgres://ann:secret@db.example/hark", "records", ""},
		{"postgresql://ann:secret@db.example/hark", "hark.records", ""},
		{"sqlite:///tmp/records.db", "records", ""},
		{"mysql://ann:secret@db.example/hark", "records", "database-dsn"},
		{"sqlite://", "records", "database-dsn"},
		{"sqlite:///tmp/records.db?mode=memory", "records", "database-dsn"},
		{"ann:secret@db.example", "records", "database-dsn"},
		{"sqlite:///tmp/records.db", `x"; DROP TABLE y`, "database-table"},
		{"sqlite:///tmp/records.db", "", "database-table is not given"},
	} {
		o, err := Flags{DatabaseDSN: test.dsn, DatabaseTable: test.table}.Parse()
		if test.says != "" {
			if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%+v: %v", test, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", test, err)
			continue
		}
		handlers, err := Handlers(o)
		if err != nil || handlers["database"] == nil {
			t.Errorf("%+v: %v", test, err)
		}
		if err := Close(handlers); err != nil {
			t.Error(err)
		}
	}
	if handlers, err := Handlers(Options{}); err != nil || handlers["database"] != nil {
		t.Errorf("without a DSN: %v", err)
	}
}

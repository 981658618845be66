package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/transfer"
	"github.com/hark-push/hark/stream"
)

// withoutStreams takes out of a file what layout 9 did not have.
func withoutStreams(tx *bolt.Tx) error {
	return errors.Join(
		tx.DeleteBucket(streamsBucket), tx.DeleteBucket(streamPiecesBucket), tx.DeleteBucket(streamDueBucket),
		tx.Bucket(metaBucket).Put(versionKey, position(nil, streamsSince-1)),
	)
}

func mine(path string) stream.Name { return stream.Name{Owner: "alice", Path: path} }

// furnishedStreams are the streams of furnishStreams, by path.
var furnishedStreams = []string{"text", "closed", "json", "fork", "forkfork", "expires", "gone"}

// furnishStreams fills a store with a bit of each kind of stream.
func furnishStreams(t *testing.T, s *Store) {
	t.Helper()
	ctx := t.Context()
	random := rand.New(rand.NewPCG(3, 4))
	create := func(path string, c stream.Create) {
		t.Helper()
		if _, _, err := s.CreateStream(ctx, mine(path), c); err != nil {
			t.Fatal(path, err)
		}
	}
	appends := func(path string, a stream.Append) {
		t.Helper()
		if _, err := s.AppendStream(ctx, mine(path), a); err != nil {
			t.Fatal(path, err)
		}
	}
	create("text", stream.Create{Type: "text/plain", Body: []byte("first ")})
	for i := range 300 {
		size := []int{1, 20, 200, 5000}[random.IntN(4)]
		appends("text", stream.Append{
			Type: "text/plain", Body: bytes.Repeat(fmt.Appendf(nil, "%d ", i), 1+size/4), Producer: &stream.Stamp{ID: "p", Seq: int64(i)},
		})
	}
	create("closed", stream.Create{Type: "text/plain", Body: []byte("all there is"), Closed: true})
	create("json", stream.Create{Type: "application/json", Body: []byte(`[{"a":1},2,"3"]`)})
	appends("json", stream.Append{Type: "application/json", Body: []byte("4"), Seq: "s"})
	text, err := s.StreamState(ctx, mine("text"), false)
	if err != nil {
		t.Fatal(err)
	}
	create("gone", stream.Create{Type: "text/plain", Body: []byte("kept for its fork")})
	create("fork", stream.Create{Fork: &stream.ForkOf{From: mine("text"), Offset: text.Offset(20_000)}, Body: []byte("the fork's")})
	create("forkfork", stream.Create{Fork: &stream.ForkOf{From: mine("fork"), Offset: text.Offset(10)}})
	create("expires", stream.Create{Fork: &stream.ForkOf{From: mine("gone")}, TTL: time.Hour})
	if err := s.DeleteStream(ctx, mine("gone")); err != nil {
		t.Fatal(err)
	}
}

// streamAnswers notes what a store says of the streams with which it was furnished.
func streamAnswers(t *testing.T, s *Store, note func(what string, err error, answer ...any)) {
	ctx := t.Context()
	of := func(what string, n stream.Name) {
		st, err := s.StreamState(ctx, n, false)
		fork, by := st.Fork, st.ClosedBy
		st.Fork, st.ClosedBy = nil, nil
		note("state of "+what, err, fmt.Sprintf("%+v %+v %+v", st, fork, by))
		var all []byte
		for from, step := uint64(0), make([]byte, 10_000); ; from += uint64(len(step)) {
			read, failed := s.ReadStream(ctx, n, step, from)
			if all, err = append(all, step[:read]...), failed; err != nil || read < len(step) {
				break
			}
		}
		note("bytes of "+what, err, string(all))
	}
	for _, path := range furnishedStreams {
		of(path, mine(path))
	}
	for i := range 40 {
		id := fmt.Sprintf("r%02d", i)
		of("the output of "+id, lifecycle.OutputName(lifecycle.Ref{ID: id}))
	}
}

// TestStreamLayout: a file of the layout before streams gets them.
func TestStreamLayout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	lives(t, s, 0, 5, func() {})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := openFile(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(update(db, withoutStreams), db.Close()); err != nil {
		t.Fatal(err)
	}
	sum, err := Check(path, func(err error) { t.Error(err) })
	if err != nil || sum.Version != streamsSince-1 {
		t.Errorf("an older file: %+v, %v", sum, err)
	}
	if s, err = Open(path, Options{}); err != nil {
		t.Fatal(err)
	}
	furnishStreams(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if sum, err := Check(path, func(err error) { t.Error(err) }); err != nil || sum.Version != streamsSince {
		t.Errorf("%+v, %v", sum, err)
	}
	if _, _, err := Compact(path, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := open(path, Options{}, migrations[:streamsSince-1]); err == nil || !strings.Contains(err.Error(), "or a newer one") {
		t.Errorf("an older program: %v", err)
	}
}

// TestStreamIndexes: a file whose indexes of streams are not what its streams say is not opened.
func TestStreamIndexes(t *testing.T) {
	for name, change := range map[string]struct {
		do   func(s *Store, tx *bolt.Tx) error
		says string
	}{
		"an entry of what expires is missing": {func(_ *Store, tx *bolt.Tx) error {
			key, _ := tx.Bucket(streamDueBucket).Cursor().First()
			return tx.Bucket(streamDueBucket).Delete(key)
		}, "not among those that expire"},
		"one is too many": {func(_ *Store, tx *bolt.Tx) error {
			return tx.Bucket(streamDueBucket).Put(streamDueKey(1, mine("text")), nil)
		}, "the index has 2"},
		"a fork is missing": {func(_ *Store, tx *bolt.Tx) error {
			return tx.Bucket(streamsBucket).Delete([]byte(mine("forkfork").Key()))
		}, "counts 1 forks"},
		"a source is missing": {func(_ *Store, tx *bolt.Tx) error {
			return tx.Bucket(streamsBucket).Delete([]byte(mine("text").Key()))
		}, "was forked 1 times"},
		"a number goes back": {func(_ *Store, tx *bolt.Tx) error { return tx.Bucket(streamsBucket).SetSequence(1) }, "given twice"},
		"an output is missing": {func(_ *Store, tx *bolt.Tx) error {
			return tx.Bucket(streamsBucket).Delete([]byte("output:r1"))
		}, "1 requests have an output"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "hark.db")
			s, err := Open(path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			furnishStreams(t, s)
			if _, err := s.Create(t.Context(), request("r1")); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Apply(t.Context(), lifecycle.Named("r1"), lifecycle.Start{}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.AppendStream(t.Context(), stream.Name{Path: "r1"}, stream.Append{Type: "a/b", Body: []byte("x"), Attempt: 1}); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			db, err := openFile(path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(update(db, func(tx *bolt.Tx) error { return change.do(s, tx) }), db.Close()); err != nil {
				t.Fatal(err)
			}
			if s, err := Open(path, Options{}); err == nil {
				s.Close()
				t.Error("it was opened")
			} else if !strings.Contains(err.Error(), change.says) {
				t.Error(err)
			}
		})
	}
}

// TestStreamPieces: small appends are joined and large ones are cut, so that a stream has few
// entries, and nothing is left of one that is gone.
func TestStreamPieces(t *testing.T) {
	s := openLogged(t, filepath.Join(t.TempDir(), "hark.db"))
	ctx := t.Context()
	entries := func() (n, bytes int) {
		t.Helper()
		if err := s.view(ctx, func(tx *bolt.Tx) error {
			n, bytes = 0, 0
			return tx.Bucket(streamPiecesBucket).ForEach(func(_, value []byte) error {
				n, bytes = n+1, bytes+len(value)
				return nil
			})
		}); err != nil {
			t.Fatal(err)
		}
		return n, bytes
	}
	if _, _, err := s.CreateStream(ctx, mine("small"), stream.Create{}); err != nil {
		t.Fatal(err)
	}
	const appends = 2000
	for range appends {
		if _, err := s.AppendStream(ctx, mine("small"), stream.Append{Type: stream.DefaultType, Body: []byte("twenty bytes of text")}); err != nil {
			t.Fatal(err)
		}
	}
	if n, size := entries(); n > appends*20/smallPiece || size > appends*20+n*sealSize {
		t.Errorf("%d appends of 20 bytes are %d pieces of %d bytes", appends, n, size)
	}
	small, _ := entries()
	const large = 1 << 20
	if _, _, err := s.CreateStream(ctx, mine("large"), stream.Create{Body: make([]byte, large)}); err != nil {
		t.Fatal(err)
	}
	if n, _ := entries(); n-small != (large+pieceSize-1)/pieceSize {
		t.Errorf("%d bytes are %d pieces", large, n-small)
	}
	for _, path := range []string{"small", "large"} {
		if err := s.DeleteStream(ctx, mine(path)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Sweep(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if n, _ := entries(); n != 0 {
		t.Errorf("%d pieces are left", n)
	}
	if err := s.view(ctx, func(tx *bolt.Tx) error {
		return tx.Bucket(keptBucket).ForEach(func(key, _ []byte) error { return fmt.Errorf("%q is left", key) })
	}); err != nil {
		t.Error(err)
	}
	if len(s.fresh.of) != 0 {
		t.Errorf("%d streams are said not to be durable", len(s.fresh.of))
	}
}

// TestSalvageStreams: of a store in which a byte of a stream is damaged all others are exported; the
// stream, and what was forked from it, is told.
func TestSalvageStreams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s := openLogged(t, path)
	furnishStreams(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[bytes.LastIndex(content, []byte("the fork's"))] ^= 1
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	var lost []string
	if _, err := Salvage(path, &out, wire.JSON, func(err error) { lost = append(lost, err.Error()) }); err != nil {
		t.Fatal(err)
	}
	if told := strings.Join(lost, "\n"); !strings.Contains(told, "the stream fork is damaged") || !strings.Contains(told, "the stream forkfork is damaged") ||
		strings.Contains(told, "the stream text") {
		t.Errorf("told\n%s", told)
	}
	told := 0
	if _, err := Check(path, func(error) { told++ }); err != nil || told == 0 {
		t.Errorf("check tells of %d, %v", told, err)
	}
	made := filepath.Join(t.TempDir(), "hark.db")
	if err := Import(made, transfer.Read(strings.NewReader(out.String()), nil)); err != nil {
		t.Fatal(err)
	}
	s = openLogged(t, made)
	for _, path := range []string{"fork", "forkfork"} {
		if _, err := s.StreamState(t.Context(), mine(path), false); !errors.Is(err, stream.ErrNotFound) {
			t.Errorf("%s: %v", path, err)
		}
	}
	p := make([]byte, 100)
	if n, err := s.ReadStream(t.Context(), mine("expires"), p, 0); err != nil || string(p[:n]) != "kept for its fork" {
		t.Errorf("%q, %v", p[:n], err)
	}
}

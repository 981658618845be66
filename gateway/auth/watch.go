package auth

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/gateway/filewatch"
)

// pollEvery is how often the file of keys is polled: a key that is gone from it ends what came with
// it within two seconds.
var pollEvery = 500 * time.Millisecond // tests have less time

// remindEvery is how often it is said again that the file cannot be taken.
const remindEvery = time.Minute

// watched is what the watcher knows of the file.
type watched struct {
	file     filewatch.File
	failing  int   // polls in a row that found no file that can be taken
	why      error // the last time
	reminded time.Time
	trouble  atomic.Pointer[Trouble]
}

// Trouble is why the file of keys cannot be taken, while the keys that were read before hold on.
type Trouble struct {
	Since time.Time
	Keys  int       // that hold on
	Read  time.Time // when they were read
}

// Detail is a sentence that names no file.
func (t *Trouble) Detail() string {
	return fmt.Sprintf("The file of keys cannot be taken since %s. The %d that were read at %s hold on; none of them can be revoked until the file is right.",
		t.Since.UTC().Format(time.RFC3339), t.Keys, t.Read.UTC().Format(time.RFC3339))
}

func openKeys(path string, log *slog.Logger) (*keys, error) {
	s := &keys{log: log, watched: watched{file: filewatch.New(path)}}
	s.known.Store(&keySet{})
	_, err := s.load()
	return s, err
}

// watch reads the file again when it has changed. One that cannot be taken changes nothing.
func (s *keys) watch(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.tell(s.load())
		case <-ctx.Done():
			return
		}
	}
}

// load reads the file if it may have changed, and reports whether it has taken other keys from it.
func (s *keys) load() (changed bool, err error) {
	changed, err = s.file.Changed()
	if err != nil {
		return false, err
	}
	if !changed {
		return false, s.why
	}
	text, err := os.ReadFile(s.file.Path())
	if err != nil {
		s.file.Forget()
		return false, err
	}
	return s.take(text)
}

// tell says what came of a poll: at once what was taken, and from the second time in a row that the
// file cannot be, because it may be written just now.
func (s *keys) tell(changed bool, err error) {
	now := time.Now()
	s.why = err
	if err == nil {
		if was := s.trouble.Swap(nil); was != nil {
			s.log.Info("the file of keys can be taken again", slog.Duration("after", now.Sub(was.Since)))
		}
		if s.failing = 0; changed {
			s.log.Info("the file of keys was read again", slog.Int("keys", len(s.known.Load().byDigest)))
		}
		return
	}
	if s.failing++; s.failing < 2 {
		return
	}
	known := s.known.Load()
	t := s.trouble.Load()
	if t == nil {
		t = &Trouble{Since: now, Keys: len(known.byDigest), Read: known.read}
		s.trouble.Store(t)
	} else if now.Sub(s.reminded) < remindEvery {
		return
	}
	s.reminded = now
	s.log.Error("the file of keys cannot be taken: it is gone, empty or wrong. The keys that were read before hold on, and none of them can be revoked until it is right",
		slog.String("file", s.file.Path()), slog.Any("error", err), slog.Int("keys", t.Keys), slog.Time("read", t.Read), slog.Time("since", t.Since))
}

// take reads the text of the file, and revokes the keys that are not in it any more.
func (s *keys) take(text []byte) (changed bool, err error) {
	next, err := parseKeys(text)
	if err != nil {
		return false, fmt.Errorf("%s: %w", s.file.Path(), err)
	}
	next.read = time.Now()
	before := s.known.Load()
	changed = len(next.byDigest) != len(before.byDigest)
	for digest, k := range next.byDigest {
		if was := before.byDigest[digest]; was != nil && was.same(k) {
			k.revoke()
			// The old one has the credential that connections have.
			next.byDigest[digest], next.byID[k.id] = was, was
		} else {
			changed = true
		}
	}
	s.known.Store(next)
	for digest, k := range before.byDigest {
		if next.byDigest[digest] != k {
			k.end()
		}
	}
	return changed, nil
}

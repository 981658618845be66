package bolt_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/bolt"
	"github.com/hark-push/hark/stream"
)

// childEnv names the file on which the test binary works as a child.
const childEnv = "HARK_BOLT_TEST_CHILD"

// childMain creates and changes requests until it is killed, and prints every
// state that the store has acknowledged.
func childMain(path string) {
	s, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	ctx := context.Background()
	run := os.Getpid()
	var mu sync.Mutex
	report := func(r lifecycle.Request, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			fmt.Println("error", err)
			return
		}
		fmt.Println("done", r.ID, r.Sequence, r.Status)
	}
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				appendUntilKilled(ctx, s, stream.Name{Owner: "alice", Path: fmt.Sprint("s", run, "/", w, "/", i)}, &mu)
			}
		}()
	}
	for w := range 16 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("r%d-%d-%d", run, w, i)
				created, err := s.Create(ctx, submission(id))
				report(created.Request, err)
				for _, c := range []lifecycle.Change{
					lifecycle.Start{},
					lifecycle.Progress{Percent: new(50.0)},
					lifecycle.Progress{},
					lifecycle.Succeed{Result: &lifecycle.Content{Type: "text/plain", Data: []byte(id)}},
				} {
					report(s.Apply(ctx, lifecycle.Named(id), c))
				}
			}
		}()
	}
	select {}
}

// streamLine is what each append of a child appends to a stream.
func streamLine(n int) string { return fmt.Sprintf("line %06d of text\n", n) }

// appendUntilKilled appends to a stream, and prints how many lines the store has acknowledged.
func appendUntilKilled(ctx context.Context, s *bolt.Store, n stream.Name, mu *sync.Mutex) {
	_, _, err := s.CreateStream(ctx, n, stream.Create{Type: "text/plain"})
	for i := 0; err == nil && i < 500; i++ {
		_, err = s.AppendStream(ctx, n, stream.Append{
			Type: "text/plain", Body: []byte(streamLine(i)), Producer: &stream.Stamp{ID: "p", Seq: int64(i)}, Close: i == 499,
		})
		mu.Lock()
		if err == nil {
			fmt.Println("appended", n.Path, i+1)
		}
		mu.Unlock()
	}
	if err != nil {
		mu.Lock()
		fmt.Println("error", err)
		mu.Unlock()
	}
}

// sameLines checks that a stream has the lines that were acknowledged, and no others but those that
// the child was appending when it was killed.
func sameLines(t *testing.T, s *bolt.Store, n stream.Name, acknowledged int) {
	t.Helper()
	st, err := s.StreamState(t.Context(), n, false)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, st.Tail)
	read, err := s.ReadStream(t.Context(), n, p, 0)
	if err != nil || read != len(p) {
		t.Fatalf("%s: %d of %d bytes, %v", n.Path, read, len(p), err)
	}
	var want strings.Builder
	lines := 0
	for ; want.Len() < len(p); lines++ {
		want.WriteString(streamLine(lines))
	}
	if want.String() != string(p) || lines != acknowledged && lines != acknowledged+1 || st.Producers["p"].Seq != int64(lines-1) {
		t.Errorf("%s: %d lines, %d were acknowledged, producer %+v", n.Path, lines, acknowledged, st.Producers)
	}
	if st.Closed != (lines == 500) {
		t.Errorf("%s: closed %v with %d lines", n.Path, st.Closed, lines)
	}
}

// TestKilled: what was acknowledged is there after the process was killed, three
// times on one file.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	acknowledged := map[string]uint64{}
	ended := map[string]bool{}
	appended := map[string]int{}
	for range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), childEnv+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 2000 {
				cmd.Process.Kill() // SIGKILL; what it printed before is still read
			}
			var path string
			var count int
			if _, err := fmt.Sscanf(lines.Text(), "appended %s %d", &path, &count); err == nil {
				appended[path] = count
				continue
			}
			var id, status string
			var sequence uint64
			if _, err := fmt.Sscanf(lines.Text(), "done %s %d %s", &id, &sequence, &status); err != nil {
				if n < 2000 || strings.HasPrefix(lines.Text(), "error") {
					t.Errorf("child: %s", lines.Text())
				}
				continue // the last line may be cut
			}
			acknowledged[id] = max(acknowledged[id], sequence)
			ended[id] = ended[id] || status == string(lifecycle.Succeeded)
		}
		cmd.Wait()
	}
	if len(acknowledged) < 1000 {
		t.Fatalf("only %d requests", len(acknowledged))
	}

	s := open(t, path, bolt.Options{})
	if len(appended) < 12 {
		t.Errorf("only %d streams", len(appended))
	}
	for path, count := range appended {
		sameLines(t, s, stream.Name{Owner: "alice", Path: path}, count)
	}
	for id, sequence := range acknowledged {
		r, err := s.Get(t.Context(), lifecycle.Named(id))
		if err != nil || r.Sequence < sequence {
			t.Fatalf("%s: at %d, %v; acknowledged was %d", id, r.Sequence, err, sequence)
		}
		h, err := s.Read(t.Context(), r.Channel().Key(), 0, 100)
		if err != nil || h.Top != r.Sequence || uint64(len(h.Messages)) != r.Sequence {
			t.Fatalf("%s: %d events, top %d, %v; the request is at %d", id, len(h.Messages), h.Top, err, r.Sequence)
		}
		if _, err := s.Content(t.Context(), lifecycle.Named(id), lifecycle.Input); err != nil {
			t.Errorf("%s: content: %v", id, err)
		}
		if c, err := s.Content(t.Context(), lifecycle.Named(id), lifecycle.Output); ended[id] && (err != nil || string(c.Data) != id) {
			t.Errorf("%s: result %q, %v", id, c.Data, err)
		}
	}
	feed := lifecycle.Channel{Kind: lifecycle.OwnerChannel, Name: "alice"}.Key()
	for after := uint64(0); ; {
		h, err := s.Read(t.Context(), feed, after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range h.Messages {
			if after++; m.Offset != after {
				t.Fatalf("offset %d, want %d", m.Offset, after)
			}
		}
		if after == h.Top {
			break
		}
	}
}

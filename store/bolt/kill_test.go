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

// TestKilled: what was acknowledged is there after the process was killed, three
// times on one file.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	acknowledged := map[string]uint64{}
	ended := map[string]bool{}
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

package auth

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hark-push/hark/lifecycle"
)

// TestReadsThatTokensCause: who waits for a key that was just published is not refused, and names
// that are made up cause no more reads than are allowed.
func TestReadsThatTokensCause(t *testing.T) {
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	var reads, asked atomic.Int64
	var set atomic.Value // of string; "" is out of order
	publish := func(names ...string) {
		var text strings.Builder
		for _, name := range names {
			_, _ = fmt.Fprintf(&text, `,{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}`, name, base64.RawURLEncoding.EncodeToString(public))
		}
		set.Store(`{"keys":[` + text.String()[1:] + `]}`)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reads.Add(1)
		if text := set.Load().(string); text != "" {
			_, _ = w.Write([]byte(text))
			return
		}
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer server.Close()
	p := newPublished(server.URL, slog.New(slog.DiscardHandler))
	p.http.Transport = new(http.Transport)
	defer p.http.CloseIdleConnections()
	var ahead atomic.Int64
	p.now = func() time.Time { asked.Add(1); return time.Now().Add(time.Duration(ahead.Load())) }
	pass := func(d time.Duration) { ahead.Add(int64(d)) }

	ask := func(id string) (string, time.Duration) {
		found, err := p.keysOf(&jwt.Token{Method: jwt.SigningMethodEdDSA, Header: map[string]any{"kid": id}})
		var unread *UnreadError
		switch {
		case errors.As(err, &unread) && errors.Is(err, lifecycle.ErrUnavailable) && unread.Retry > 0:
			return "later", unread.Retry
		case err != nil:
			t.Errorf("%s: %v", id, err)
		case len(found) == 0:
			return "refused", 0
		}
		return "found", 0
	}
	check := func(id, want string, caused int64) {
		t.Helper()
		before := reads.Load()
		if got, _ := ask(id); got != want || reads.Load()-before != caused {
			t.Errorf("%s is %s after %d reads, want %s after %d", id, got, reads.Load()-before, want, caused)
		}
	}
	publish("one")
	check("one", "later", 0) // nothing was ever read
	if err := p.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("one", "found", 0)
	check("zero", "refused", 1)
	check("nil", "refused", 1)
	check("two", "refused", 1) // that was the last of the burst
	check("two", "refused", 0)
	check("three", "later", 0)
	publish("one", "three")
	check("three", "later", 0)
	_, wait := ask("three")
	if wait > readAtLeast {
		t.Errorf("to wait for %v", wait)
	}
	for n := range 5000 {
		if got, _ := ask(fmt.Sprint("stranger", n)); got != "later" {
			t.Fatalf("a stranger is %s", got)
		}
	}
	pass(wait)
	check("three", "found", 1)
	pass(readAtLeast)
	check("two", "refused", 1) // it may have been published since
	pass(readAtLeast)
	set.Store("")
	check("four", "later", 1) // it cannot be known
	check("three", "found", 0)

	// Those that wait share one read.
	pass(time.Hour)
	publish("one", "many7")
	before, arrived := reads.Load(), asked.Load()
	const many = 50
	p.mu.Lock()
	var asking sync.WaitGroup
	for n := range many {
		asking.Go(func() {
			want := "refused"
			if n == 7 {
				want = "found"
			}
			if got, _ := ask(fmt.Sprint("many", n)); got != want {
				t.Errorf("many%d is %s", n, got)
			}
		})
	}
	for asked.Load()-arrived < many {
		time.Sleep(time.Millisecond) // a poll, not a wait: the condition decides
	}
	p.mu.Unlock()
	asking.Wait()
	if n := reads.Load() - before; n != 1 {
		t.Errorf("%d reads for %d that came together", n, many)
	}
	for n := range 10 * maxMissing {
		pass(readAtLeast)
		if n%100 == 0 {
			_, _ = ask(fmt.Sprint("more", n))
		}
	}
	if len(p.missing) > maxMissing {
		t.Errorf("%d names are kept", len(p.missing))
	}
}

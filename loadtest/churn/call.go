package churn

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// caller is somebody with a key, which may be another one from one call to the next.
type caller struct {
	subject string
	roles   string
	mu      sync.Mutex
	key     string
}

func (w *caller) current() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.key
}

// call is one HTTP call.
type call struct {
	method, path string
	contentType  string
	body         []byte
	header       []string // names and values in turn
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
	// Calls before that may have had an effect: they were answered by 503, or not at all.
	unknown int
}

func (a answer) problem() string {
	var p struct{ Type string }
	_ = json.Unmarshal(a.body, &p)
	return p.Type
}

func (a answer) String() string { return fmt.Sprintf("%d %.300s", a.status, a.body) }

// try makes a call once, at a gateway.
func (c *churn) try(ctx context.Context, gateway int, key string, k call) (a answer, err error) {
	r, err := http.NewRequestWithContext(ctx, k.method, "http://"+c.Gateways[gateway].Addr+k.path, bytes.NewReader(k.body))
	if err != nil {
		return a, err
	}
	r.Header.Set("Authorization", "Bearer "+key)
	if k.contentType != "" {
		r.Header.Set("Content-Type", k.contentType)
	}
	for i := 0; i+1 < len(k.header); i += 2 {
		r.Header.Set(k.header[i], k.header[i+1])
	}
	res, err := c.calls.Do(r)
	if err != nil {
		return a, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return answer{status: res.StatusCode, header: res.Header, body: body}, err
}

// ask makes a call until it is answered with something else than 503, each time at any of the
// gateways, as a client does that knows several and repeats what is safe to repeat. A key that was
// changed meanwhile is changed here too. The error is that of ctx, or tells that nobody answered
// for too long, which is a violation.
func (c *churn) ask(ctx context.Context, r *rand.Rand, who *caller, k call) (answer, error) {
	const patience = 2 * time.Minute
	unknown := 0
	for began := time.Now(); ; {
		key := who.current()
		a, err := c.try(ctx, r.IntN(len(c.Gateways)), key, k)
		switch {
		case ctx.Err() != nil:
			return answer{unknown: unknown + 1}, ctx.Err()
		case err == nil && a.status == http.StatusUnauthorized && key == who.current():
			c.ledger.violate("%s %s: the key of %s, which is in the file, is refused: %v", k.method, k.path, who.subject, a)
			return a, errStatus
		case err == nil && a.status == http.StatusUnauthorized: // it was changed between
			c.ledger.count("calls with a key just revoked")
			continue
		case err == nil && a.status != http.StatusServiceUnavailable:
			a.unknown = unknown
			return a, nil
		}
		unknown++
		c.ledger.count("calls made again (no answer, or 503)")
		if time.Since(began) > patience {
			c.ledger.violate("%s %s: nobody answers for %v: %v %v", k.method, k.path, patience, err, a)
			return a, errStatus
		}
		if !pause(ctx, between(r, 50*time.Millisecond, 250*time.Millisecond)) {
			return answer{unknown: unknown}, ctx.Err()
		}
	}
}

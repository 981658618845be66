package churn

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"time"
)

// makeKeys gives everybody a key and writes them to the gateways' file.
func (c *churn) makeKeys() error {
	random := c.random("keys")
	for i := range owners {
		c.owners = append(c.owners, &caller{subject: fmt.Sprint("owner-", i), roles: "client", key: newKey(random)})
	}
	for i := range processors {
		c.workers = append(c.workers, &caller{subject: fmt.Sprint("processor-", i), roles: "processor", key: newKey(random)})
	}
	return c.writeKeys(nil, "")
}

func newKey(r *rand.Rand) string {
	return fmt.Sprintf("hark_%016x%016x", r.Uint64(), r.Uint64())
}

// writeKeys writes everybody's key, and one more for somebody, as a whole.
func (c *churn) writeKeys(who *caller, more string) error {
	var text strings.Builder
	entry := func(w *caller, key string) {
		sum := sha256.Sum256([]byte(key))
		fmt.Fprintf(&text, "- subject: %s\n  roles: [%s]\n  sha256: %s\n", w.subject, w.roles, hex.EncodeToString(sum[:]))
	}
	for _, w := range append(append([]*caller(nil), c.owners...), c.workers...) {
		entry(w, w.current())
		if w == who {
			entry(w, more)
		}
	}
	next := c.Keys + ".next"
	if err := os.WriteFile(next, []byte(text.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(next, c.Keys)
}

// rotateKeys changes keys, one at a time: the new one is put beside the old one, everybody goes
// over to it when all gateways know it, and the old one is taken out. From then on it is refused,
// and what was opened with it is closed.
func (c *churn) rotateKeys(ctx context.Context, r *rand.Rand) {
	all := append(append([]*caller(nil), c.owners...), c.workers...)
	for pause(ctx, between(r, time.Second, 4*time.Second)) {
		who := all[r.IntN(len(all))]
		old, next := who.current(), newKey(r)
		if err := c.writeKeys(who, next); err != nil {
			c.ledger.violate("%v", err)
			return
		}
		if !c.everywhere(c.lasting, who, next, true) {
			return
		}
		who.mu.Lock()
		who.key = next
		who.mu.Unlock()
		if err := c.writeKeys(nil, ""); err != nil {
			c.ledger.violate("%v", err)
			return
		}
		c.ledger.count("keys changed")
		if !c.everywhere(c.lasting, who, old, false) {
			return
		}
		c.ledger.checked("revoked keys refused", 1)
		c.under.Go(func() { c.closedFor(c.lasting, who, old) })
	}
}

// keyTime is how long a gateway may take to learn of a changed file, and to close what was opened
// with a key that is gone. It looks at the file every two seconds, and closes with the next
// heartbeat, which here comes every other second, so this is long also on a machine that is busy.
const keyTime = time.Minute

// everywhere waits until a key is taken, or refused, by all gateways that run.
func (c *churn) everywhere(ctx context.Context, who *caller, key string, taken bool) bool {
	path, method := "/v1/requests?limit=1", "GET"
	if who.roles == "processor" {
		path, method = "/v1/work/nobody/start", "POST"
	}
	ctx, cancel := context.WithTimeout(ctx, keyTime)
	defer cancel()
	for i := range c.Gateways {
		if !until(ctx, func() bool {
			a, err := c.try(ctx, i, key, call{method: method, path: path})
			return err == nil && (a.status == http.StatusUnauthorized) != taken && a.status != http.StatusServiceUnavailable
		}) {
			c.ledger.violate("%s: after %v a changed key of %s is not taken or refused as it should (%v)", c.Gateways[i].Name, keyTime, who.subject, taken)
			return false
		}
	}
	return true
}

// closedFor waits until no follower has a connection with a revoked key. One that does not read
// cannot see that it is closed.
func (c *churn) closedFor(ctx context.Context, who *caller, key string) {
	ctx, cancel := context.WithTimeout(ctx, keyTime)
	defer cancel()
	var left string
	if !until(ctx, func() bool {
		c.conns.Lock()
		defer c.conns.Unlock()
		for conn := range c.conns.open {
			if conn.key == key {
				left = conn.name
				return false
			}
		}
		return true
	}) {
		c.ledger.violate("a key of %s was revoked, and %v later a connection is open with it: %s", who.subject, keyTime, left)
		return
	}
	c.ledger.checked("revoked keys whose connections were closed", 1)
}

package auth

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"

	"github.com/hark-push/hark/lifecycle"
)

// published are the public keys at a URL, a JSON Web Key Set (RFC 7517). They are read from time to
// time, and when a token names one that is not known, though not each time that somebody makes a
// name up.
type published struct {
	url  string
	log  *slog.Logger
	http *http.Client
	now  func() time.Time

	known atomic.Pointer[keysRead] // nil until they were read once

	mu      sync.Mutex                      // held while they are read: one at a time
	began   time.Time                       // when the last read that brought keys began
	reads   *rate.Limiter                   // those that tokens may cause
	missing map[[sha256.Size]byte]time.Time // names that a read did not bring, and when; by digest
}

// keysRead is what a set holds.
type keysRead struct {
	keys  []publishedKey
	named map[string]bool // all kids in it, of keys too that are of no use
}

type publishedKey struct {
	id        string // kid; "" for none
	algorithm string // the only one that it signs with, "" for any of its kind
	public    crypto.PublicKey
}

const (
	readEvery   = 5 * time.Minute  // so long a key that was withdrawn may be taken
	readAtLeast = 10 * time.Second // between two reads that tokens cause, on the average
	readBurst   = 3                // so many may follow on each other
	readFirst   = time.Second      // between two reads until there are any keys
	readFailed  = 2 * time.Second  // after a failure it is worth another try
	maxSet      = 1 << 20          // bytes
	maxMissing  = 1000             // names that are remembered
)

// UnreadError is the error of a token whose key may exist and is not known yet. It wraps
// lifecycle.ErrUnavailable.
type UnreadError struct {
	Retry time.Duration // when the keys may be read again
}

func (e *UnreadError) Error() string { return "the key that a token names is not known yet" }

// Unwrap makes every UnreadError a [lifecycle.ErrUnavailable].
func (e *UnreadError) Unwrap() error { return lifecycle.ErrUnavailable }

func newPublished(url string, log *slog.Logger) *published {
	return &published{
		url: url, log: log, http: &http.Client{Timeout: 5 * time.Second}, now: time.Now,
		reads: rate.NewLimiter(rate.Every(readAtLeast), readBurst), missing: make(map[[sha256.Size]byte]time.Time),
	}
}

// run reads the keys until ctx ends.
func (p *published) run(ctx context.Context) {
	for {
		p.mu.Lock()
		_ = p.refresh(ctx) // which logs it
		p.mu.Unlock()
		wait := readEvery
		if p.known.Load() == nil {
			wait = readFirst
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// refresh reads the keys. What cannot be read changes nothing. mu is held.
func (p *published) refresh(ctx context.Context) error {
	began := p.now()
	found, err := p.read(ctx)
	if err != nil {
		if ctx.Err() == nil {
			p.log.Warn("the keys of tokens could not be read", slog.String("url", p.url), slog.Any("error", err))
		}
		return err
	}
	p.began = began
	p.known.Store(found)
	return nil
}

func (p *published) read(ctx context.Context) (*keysRead, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	answer, err := p.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered with %s", answer.Status)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxSet))
	if err != nil {
		return nil, err
	}
	return parseSet(text)
}

// parseSet reads a set of keys. Those that are not for signatures, not public or of no kind that is
// taken are passed over.
func parseSet(text []byte) (*keysRead, error) {
	var set jwkset.JWKSMarshal
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, err
	}
	found := &keysRead{named: make(map[string]bool, len(set.Keys))}
	for _, marshaled := range set.Keys {
		found.named[marshaled.KID] = marshaled.KID != ""
		if marshaled.USE != "" && marshaled.USE != jwkset.UseSig {
			continue
		}
		k, err := jwkset.NewJWKFromMarshal(marshaled, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{SkipX5UScheme: true})
		if err != nil || !strong(k.Key()) {
			continue
		}
		found.keys = append(found.keys, publishedKey{id: marshaled.KID, algorithm: string(marshaled.ALG), public: k.Key()})
	}
	if len(found.keys) == 0 {
		return nil, errors.New("there is no public key in it that could have signed a token")
	}
	return found, nil
}

// keysOf returns the keys that may have signed a token: the one that it names, or those of its kind
// if it names none. It returns none only if there is no such key: the set was read after the token
// had come, or has another use for the name. As long as that is not known the error is an
// [*UnreadError].
func (p *published) keysOf(token *jwt.Token) ([]jwt.VerificationKey, error) {
	id, _ := token.Header["kid"].(string)
	if p.known.Load() == nil {
		return nil, &UnreadError{readFirst} // run is at it
	}
	found, useless := p.find(token, id)
	if len(found) > 0 || useless {
		return found, nil
	}
	return p.fetchFor(token, id)
}

// fetchFor reads the keys because of a token that names one which is not known. Tokens of strangers
// come here as well, so the reads are limited: those that wait for one share it, and what it did
// not bring is remembered for a while.
func (p *published) fetchFor(token *jwt.Token, id string) ([]jwt.VerificationKey, error) {
	came := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	found, useless := p.find(token, id) // somebody else may have read them
	if len(found) > 0 || useless || p.began.After(came) {
		return found, nil
	}
	name := sha256.Sum256([]byte(token.Method.Alg() + " " + id))
	now := p.now()
	if at, ok := p.missing[name]; ok && now.Sub(at) < readAtLeast {
		return nil, nil
	}
	read := p.reads.ReserveN(now, 1)
	if wait := read.DelayFrom(now); wait > 0 {
		read.CancelAt(now)
		return nil, &UnreadError{wait}
	}
	if p.refresh(context.Background()) != nil { // bounded by the client's timeout
		return nil, &UnreadError{readFailed}
	}
	if found, _ = p.find(token, id); len(found) == 0 {
		if len(p.missing) >= maxMissing {
			clear(p.missing)
		}
		p.missing[name] = now
	}
	return found, nil
}

// find returns the known keys that may have signed a token. useless: there are none, but what it
// names is known.
func (p *published) find(token *jwt.Token, id string) (found []jwt.VerificationKey, useless bool) {
	known := p.known.Load()
	for _, k := range known.keys {
		if (id == "" || k.id == id) && (k.algorithm == "" || k.algorithm == token.Method.Alg()) && fits(token.Method, k.public) {
			found = append(found, k.public)
		}
	}
	return found, len(found) == 0 && known.named[id]
}

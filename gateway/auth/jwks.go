package auth

import (
	"context"
	"crypto"
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

	"github.com/hark-push/hark/lifecycle"
)

// published are the public keys at a URL, a JSON Web Key Set (RFC 7517). They are read from time to time, and when
// a token names one that is not known yet, though not each time that somebody makes a name up.
type published struct {
	url  string
	log  *slog.Logger
	http *http.Client

	known atomic.Pointer[[]publishedKey] // nil until they were read once

	mu     sync.Mutex
	looked time.Time // when they were read last, or that was tried
}

type publishedKey struct {
	id        string // kid; "" for none
	algorithm string // the only one that it signs with, "" for any of its kind
	public    crypto.PublicKey
}

const (
	readEvery   = 5 * time.Minute  // so long a key that was withdrawn may be taken
	readAtLeast = 10 * time.Second // between two reads
	maxSet      = 1 << 20          // bytes
)

func newPublished(url string, log *slog.Logger) *published {
	return &published{url: url, log: log, http: &http.Client{Timeout: 5 * time.Second}}
}

// run reads the keys until ctx ends.
func (p *published) run(ctx context.Context) {
	for {
		p.refresh(ctx, 0)
		wait := readEvery
		if p.known.Load() == nil {
			wait = time.Second
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

// refresh reads the keys, unless that was tried less than least ago. What cannot be read changes nothing.
func (p *published) refresh(ctx context.Context, least time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.looked.IsZero() && time.Since(p.looked) < least {
		return
	}
	found, err := p.read(ctx)
	p.looked = time.Now()
	if err != nil {
		if ctx.Err() == nil {
			p.log.Warn("the keys of tokens could not be read", slog.String("url", p.url), slog.Any("error", err))
		}
		return
	}
	p.known.Store(&found)
}

func (p *published) read(ctx context.Context) ([]publishedKey, error) {
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

// parseSet reads a set of keys. Those that are not for signatures, not public or of no kind that is taken are passed over.
func parseSet(text []byte) ([]publishedKey, error) {
	var set jwkset.JWKSMarshal
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, err
	}
	var found []publishedKey
	for _, marshaled := range set.Keys {
		if marshaled.USE != "" && marshaled.USE != jwkset.UseSig {
			continue
		}
		k, err := jwkset.NewJWKFromMarshal(marshaled, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{SkipX5UScheme: true})
		if err != nil || !strong(k.Key()) {
			continue
		}
		found = append(found, publishedKey{id: marshaled.KID, algorithm: string(marshaled.ALG), public: k.Key()})
	}
	if len(found) == 0 {
		return nil, errors.New("there is no public key in it that could have signed a token")
	}
	return found, nil
}

// keysOf returns the keys that may have signed a token: the one that it names, or those of its kind if it names none.
func (p *published) keysOf(token *jwt.Token) ([]jwt.VerificationKey, error) {
	id, _ := token.Header["kid"].(string)
	found := p.find(token, id)
	if len(found) == 0 {
		p.refresh(context.Background(), readAtLeast) // bounded by the client's timeout
		if p.known.Load() == nil {
			return nil, fmt.Errorf("%w: the keys of tokens were not read yet", lifecycle.ErrUnavailable)
		}
		found = p.find(token, id)
	}
	return found, nil
}

func (p *published) find(token *jwt.Token, id string) []jwt.VerificationKey {
	known := p.known.Load()
	if known == nil {
		return nil
	}
	var found []jwt.VerificationKey
	for _, k := range *known {
		if (id == "" || k.id == id) && (k.algorithm == "" || k.algorithm == token.Method.Alg()) && fits(token.Method, k.public) {
			found = append(found, k.public)
		}
	}
	return found
}

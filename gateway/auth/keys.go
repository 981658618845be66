package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/suggest"
)

// keys are the API keys of a file.
type keys struct {
	log   *slog.Logger
	known atomic.Pointer[keySet]
	watched
}

// keySet is what a file says: keys by their digests, because neither the time that a lookup takes
// nor memory should tell a key.
type keySet struct {
	byDigest map[[sha256.Size]byte]*key
	byID     map[string]*key
	read     time.Time // from the file
}

// key is one API key. Nobody changes it.
type key struct {
	id         string // the beginning of its digest; it names the key in tickets
	principal  lifecycle.Principal
	expires    time.Time       // zero: never
	credential *hub.Credential // of all connections that came with it

	revoked context.Context // ends when it is
	revoke  context.CancelFunc
}

// end revokes a key: what came with it ends.
func (k *key) end() {
	k.credential.Revoke()
	k.revoke()
}

// same reports whether two keys let the same caller do the same.
func (k *key) same(other *key) bool {
	return k.principal.Subject == other.principal.Subject && slices.Equal(k.principal.Roles, other.principal.Roles) && k.expires.Equal(other.expires)
}

// caller returns who is behind a key; ok is false if there is no such key.
func (s *keys) caller(token string) (c Caller, ok bool, err error) {
	k := s.known.Load().byDigest[sha256.Sum256([]byte(token))]
	if k == nil {
		return Caller{}, false, nil
	}
	if !k.expires.IsZero() && !time.Now().Before(k.expires) {
		return Caller{}, true, expired("The key has expired.")
	}
	return Caller{Principal: k.principal, Expires: k.expires, key: k}, true, nil
}

// byID returns the key of an id, nil if there is none any more.
func (s *keys) byID(id string) *key { return s.known.Load().byID[id] }

// entry is one key in the file.
type entry struct {
	Subject string    `yaml:"subject"`
	Roles   []string  `yaml:"roles"`
	Key     string    `yaml:"key"`
	SHA256  string    `yaml:"sha256"`
	Expires time.Time `yaml:"expires"`
}

// Bounds of an API key's text, in characters.
const (
	minKey = 20
	maxKey = 512
)

// parseKeys reads a file of keys. Errors name the entry and show nothing of a key.
func parseKeys(text []byte) (*keySet, error) {
	var entries []entry
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&entries); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("it is not a list of keys with subject, roles, key or sha256, and expires: %w", quiet(err))
	}
	if err := exactEntries(text); err != nil {
		return nil, err
	}
	// A further document would be passed over.
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one YAML document in it: put all keys into one list")
	}
	if len(entries) == 0 {
		return nil, errors.New("there is no key in it")
	}
	set := &keySet{byDigest: make(map[[sha256.Size]byte]*key, len(entries)), byID: make(map[string]*key, len(entries))}
	for i, e := range entries {
		k, digest, err := e.parse()
		if err == nil && set.byDigest[digest] != nil {
			err = errors.New("the same key stands there twice")
		}
		if err != nil {
			return nil, fmt.Errorf("key %d (%q): %w", i+1, e.Subject, err)
		}
		set.byDigest[digest], set.byID[k.id] = k, k
	}
	return set, nil
}

// exactEntries refuses what decoding passes over: a field that no key has, and one that is there
// but empty, which would be the default, like no end.
func exactEntries(text []byte) error {
	var entries []map[string]yaml.Node
	if err := yaml.Unmarshal(text, &entries); err != nil {
		return quiet(err)
	}
	known := []string{"subject", "roles", "key", "sha256", "expires"}
	for i, fields := range entries {
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			value := fields[name]
			for value.Kind == yaml.AliasNode {
				value = *value.Alias
			}
			switch {
			case !slices.Contains(known, name):
				return fmt.Errorf("key %d: line %d: %.100q is not a field of a key%s; they are %s", i+1, value.Line, name, suggest.Mean(name, known), strings.Join(known, ", "))
			case value.ShortTag() == "!!null", value.Kind == yaml.ScalarNode && strings.TrimSpace(value.Value) == "":
				return fmt.Errorf("key %d: line %d: %s is there but empty: take it out if nothing is meant by it, or give it a value", i+1, value.Line, name)
			}
		}
	}
	return nil
}

// quiet leaves out of an error of YAML the values that it quotes, which may be keys.
func quiet(err error) error {
	if t, ok := errors.AsType[*yaml.TypeError](err); ok && len(t.Errors) > 0 {
		line, rest, _ := strings.Cut(t.Errors[0], ":")
		if strings.Contains(rest, "already defined") {
			return errors.New(line + " has a field that stands there twice")
		}
		return errors.New(line + " is of the wrong type")
	}
	return err
}

func (e entry) parse() (*key, [sha256.Size]byte, error) {
	var digest [sha256.Size]byte
	if !validSubject(e.Subject) {
		return nil, digest, errors.New("subject must be 1 to 256 bytes of Unicode without control characters")
	}
	k := &key{principal: lifecycle.Principal{Subject: e.Subject}, expires: e.Expires, credential: hub.NewCredential(e.Expires)}
	k.revoked, k.revoke = context.WithCancel(context.Background())
	for _, name := range e.Roles {
		r, ok := role(name)
		if !ok {
			return nil, digest, fmt.Errorf("role %q is none of client, processor and admin", name)
		}
		k.principal.Roles = append(k.principal.Roles, r)
	}
	if len(k.principal.Roles) == 0 {
		return nil, digest, errors.New("roles must name at least one of client, processor and admin")
	}
	switch {
	case (e.Key == "") == (e.SHA256 == ""):
		return nil, digest, errors.New("either key or sha256 must be there")
	case e.Key != "":
		if len(e.Key) < minKey || len(e.Key) > maxKey || !validToken(e.Key) {
			return nil, digest, fmt.Errorf("key must be %d to %d of the characters A-Z a-z 0-9 - . _ ~ + / =, as --new-key makes one", minKey, maxKey)
		}
		digest = sha256.Sum256([]byte(e.Key))
	default:
		sum, err := hex.DecodeString(e.SHA256)
		if err != nil || len(sum) != sha256.Size {
			return nil, digest, errors.New("sha256 must be the SHA-256 of the key, 64 hexadecimal digits")
		}
		digest = [sha256.Size]byte(sum)
	}
	k.id = base64.RawURLEncoding.EncodeToString(digest[:9])
	return k, digest, nil
}

// NewKey returns a new API key and its entry in a file of keys, which does not tell it. It fails on
// a subject or a role that no key may have.
func NewKey(subject string, roles []string) (text, yamlEntry string, err error) {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails, see crypto/rand
	text = "hark_" + base64.RawURLEncoding.EncodeToString(random)
	sum := sha256.Sum256([]byte(text))
	e := entry{Subject: subject, Roles: roles, SHA256: hex.EncodeToString(sum[:])}
	if _, _, err := e.parse(); err != nil {
		return "", "", err
	}
	quoted, err := yaml.Marshal(subject)
	if err != nil {
		return "", "", err
	}
	return text, fmt.Sprintf("- subject: %s  roles: [%s]\n  sha256: %s\n", quoted, strings.Join(roles, ", "), e.SHA256), nil
}

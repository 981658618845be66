package auth_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/lifecycle"
)

// written signs what a token says as it is written, for what no library would write.
func written(payload string) string { return signedWith(secret, payload) }

func signedWith(key []byte, payload string) string {
	head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(head))
	return head + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// TestExactTokens: a token whose times are none, whose subject is no Unicode, or that says
// something twice, is refused; exp 0 has ended.
func TestExactTokens(t *testing.T) {
	g := guard(t, auth.Options{Tokens: auth.TokenOptions{Secret: secret}})
	now := time.Now().Unix()
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	for payload, says := range map[string]string{
		`{"sub":"a"}`: "", `{"sub":"ä😀"}`: "", `{"sub":"\ud83d\ude00"}`: "",
		`{"sub":"a","exp":` + number(now+60) + `.5}`: "",
		`{"sub":"a","exp":0}`:                        "expired", `{"sub":"a","exp":0.0}`: "expired", `{"sub":"a","exp":-0}`: "expired", `{"sub":"a","exp":-1}`: "expired",
		`{"sub":"a","exp":-62135596800}`:          "expired", // the year 1, which is Go's zero time
		`{"sub":"a","exp":` + number(now-1) + `}`: "expired", // there is no leeway
		`{"sub":"a","exp":1e300}`:                 "", `{"sub":"a","exp":-1e300}`: "", `{"sub":"a","exp":` + number(now*1000) + `000}`: "time",
		`{"sub":"a","exp":null}`: "malformed", `{"sub":"a","exp":"9999999999"}`: "malformed", `{"sub":"a","exp":true}`: "malformed", `{"sub":"a","exp":[]}`: "malformed",
		`{"sub":"a","nbf":` + number(now+20) + `}`: "", `{"sub":"a","nbf":` + number(now+60) + `}`: "not valid yet", `{"sub":"a","nbf":"x"}`: "malformed", `{"sub":"a","nbf":1e300}`: "",
		`{"sub":"a","iat":` + number(now+20) + `}`: "", `{"sub":"a","iat":` + number(now+60) + `}`: "not valid yet", `{"sub":"a","iat":{}}`: "malformed",
		`{}`: "name its subject", `{"sub":""}`: "name its subject", `{"sub":null}`: "", `{"sub":1}`: "",
		`{"sub":"` + strings.Repeat("a", 256) + `"}`: "", `{"sub":"` + strings.Repeat("a", 257) + `"}`: "subject", `{"sub":"` + strings.Repeat("ä", 129) + `"}`: "subject",
		`{"sub":"a\u0000"}`: "subject", `{"sub":"a\n"}`: "subject", `{"sub":"a\u0085"}`: "subject", `{"sub":"a\ufffd"}`: "subject",
		`{"sub":"a\ud800"}`: "Unicode", `{"sub":"\udc00a"}`: "Unicode", "{\"sub\":\"a\xff\"}": "Unicode", "{\"sub\":\"a\",\"x\":\"\xff\"}": "Unicode",
		`{"sub":"a","sub":"b"}`: "twice", `{"sub":"a","exp":9999999999,"exp":9999999998}`: "twice", `{"sub":"a","x":{"y":1,"y":2}}`: "twice",
		`{"sub":"a"} `: "", `{"sub":"a"}{}`: "malformed", `["sub"]`: "malformed",
	} {
		c, err := g.Token(written(payload))
		refused := says != "" || strings.Contains(payload, `null`) || strings.Contains(payload, `:1}`) || strings.Contains(payload, "e300")
		if refused != (err != nil) || err != nil && (!errors.Is(err, auth.ErrUnauthenticated) || !strings.Contains(err.Error(), says)) {
			t.Errorf("%.80s: %+v, %v; want %q", payload, c, err, says)
		}
	}
}

// TestRequireExpiry: with it a token has to say when it ends.
func TestRequireExpiry(t *testing.T) {
	g := guard(t, auth.Options{Tokens: auth.TokenOptions{Secret: secret, RequireExpiry: true}})
	if _, err := g.Token(signed(t, "HS256", secret, jwt.MapClaims{"sub": "a"})); !strings.Contains(refused(t, err), "exp") {
		t.Errorf("without exp: %v", err)
	}
	if _, err := g.Token(signed(t, "HS256", secret, jwt.MapClaims{"sub": "a", "exp": time.Now().Add(time.Minute).Unix()})); err != nil {
		t.Error(err)
	}
}

// TestClaimOfRoles: the name of the claim may be one with dots in it, as a URL is, or a way, or
// both.
func TestClaimOfRoles(t *testing.T) {
	admin, client := []lifecycle.Role{lifecycle.RoleAdmin}, []lifecycle.Role{lifecycle.RoleClient}
	for _, c := range []struct {
		claim, payload string
		want           []lifecycle.Role
	}{
		{"https://example.com/roles", `{"https://example.com/roles":["admin"]}`, admin},
		{"https://example.com/roles", `{"https://example.com/roles":"admin"}`, admin},
		{"https://example.com/roles", `{"https://example":{"com/roles":["admin"]}}`, admin},
		{"https://example.com/roles", `{"roles":["admin"]}`, client},
		{"https://example.com/roles", `{"https://example.com/roles":7}`, nil},
		{"https://example.com/app.roles", `{"https://example.com/app":{"roles":["admin"]}}`, admin},
		{"realm_access.roles", `{"realm_access":{"roles":["admin"]}}`, admin},
		{"realm_access.roles", `{"realm_access.roles":["admin"]}`, admin},
		// The whole name counts first.
		{"realm_access.roles", `{"realm_access.roles":["admin"],"realm_access":{"roles":["client"]}}`, admin},
		{"a.b.c", `{"a.b":{"c":["admin"]},"a":{"b.c":["client"]}}`, admin},
		{"a.b.c", `{"a":{"b.c":["admin"]}}`, admin},
		{"a.b", `{"a":"admin"}`, client},
		{"a.b", `{"a":{"b":null}}`, client},
		{"a", `{"a":[]}`, nil},
	} {
		g := guard(t, auth.Options{Tokens: auth.TokenOptions{Secret: secret, Roles: c.claim}})
		who, err := g.Token(written(`{"sub":"x",` + c.payload[1:]))
		if err != nil || !slices.Equal(who.Roles, c.want) {
			t.Errorf("%s in %s: %v, %v; want %v", c.claim, c.payload, who.Roles, err, c.want)
		}
	}
}

// logged is a log that tests read while it is written.
type logged struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// TestFieldsOfKeys: a field that is there but empty is refused, because its default may be the
// opposite, like no end; so is one that no key has. Nothing of a key is told.
func TestFieldsOfKeys(t *testing.T) {
	for field, says := range map[string]string{
		"expires: ":       "expires is there but empty",
		"expires: null":   "expires is there but empty",
		"expires: ~":      "expires is there but empty",
		"sha256: ":        "sha256 is there but empty",
		"sha256: ''":      "sha256 is there but empty",
		"expire: 2030":    `"expire" is not a field of a key (did you mean "expires"?)`,
		"Subject: a":      `"Subject" is not a field of a key`,
		"subject: again":  "twice",
		"expires: [1, 2]": "wrong type",
	} {
		text := "- subject: a\n  roles: [client]\n  key: " + aliceKey + "\n  " + field + "\n"
		_, err := auth.New(auth.Options{Keys: file(t, "keys.yaml", text)})
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), aliceKey) {
			t.Errorf("%q: %v, want %q", field, err, says)
		}
	}
	for _, roles := range []string{"", "null"} {
		text := "- subject: a\n  key: " + aliceKey + "\n  roles: " + roles + "\n"
		if _, err := auth.New(auth.Options{Keys: file(t, "keys.yaml", text)}); err == nil || !strings.Contains(err.Error(), "roles is there but empty") {
			t.Errorf("roles: %q: %v", roles, err)
		}
	}
	if _, err := auth.New(auth.Options{Keys: file(t, "keys.yaml", "- &k {subject: a, roles: [client], key: "+aliceKey+"}\n- {<<: *k, subject: b, key: "+adminKey+"}\n")}); err != nil {
		t.Errorf("a merged key: %v", err)
	}
}

// TestFileOfKeysGoes: when the file is gone, emptied or wrong, that is said as an error, with what
// holds on, until it is right again; a key that is gone from it ends what rests on it.
func TestFileOfKeysGoes(t *testing.T) {
	const alice, bob = "- {subject: alice, roles: [client], key: " + aliceKey + "}\n", "- {subject: bob, roles: [client], key: " + adminKey + "}\n"
	path := file(t, "keys.yaml", alice+bob)
	var log logged
	g := guard(t, auth.Options{Keys: path, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	run(t, g)
	for what, spoil := range map[string]func() error{
		"gone":              func() error { return os.Remove(path) },
		"emptied":           func() error { return os.WriteFile(path, nil, 0o600) },
		"a list of nothing": func() error { write(t, path, "[]\n"); return nil },
		"no YAML":           func() error { write(t, path, "- {"); return nil },
		"not UTF-8":         func() error { write(t, path, "- {subject: \"\xff\", roles: [client], key: "+aliceKey+"}"); return nil },
		"a second document": func() error { write(t, path, alice+"---\n"+bob); return nil },
		"a folder": func() error {
			return errors.Join(os.Remove(path), os.Mkdir(path, 0o700))
		},
		"a link to nothing": func() error { return errors.Join(os.Remove(path), os.Symlink(path+".gone", path)) },
	} {
		before := strings.Count(log.String(), "level=ERROR")
		if err := spoil(); err != nil {
			t.Fatal(what, err)
		}
		until(t, what+" is told", func() bool { return g.Trouble() != nil && strings.Count(log.String(), "level=ERROR") == before+1 })
		if d := g.Trouble().Detail(); !strings.Contains(d, "The 2 that were read at") || strings.Contains(d, path) {
			t.Errorf("%s: %s", what, d)
		}
		if _, err := g.Token(aliceKey); err != nil || g.Keys() != 2 {
			t.Errorf("%s: the keys do not hold on: %v", what, err)
		}
		_ = os.Remove(path)
		write(t, path, alice+bob)
		until(t, "it is right after "+what, func() bool { return g.Trouble() == nil })
	}
	who, err := g.Token(adminKey)
	if err != nil || who.Ended() != nil {
		t.Fatal(err)
	}
	ctx, release := who.Until(context.Background())
	defer release()
	write(t, path, alice)
	select {
	case <-ctx.Done():
	case <-time.After(3 * time.Minute):
		t.Fatal("what rests on a key that is gone goes on")
	}
	if err := who.Ended(); !errors.Is(err, auth.ErrExpired) || !errors.Is(err, auth.ErrUnauthenticated) {
		t.Errorf("%v", err)
	}
	if stays, err := g.Token(aliceKey); err != nil || stays.Ended() != nil {
		t.Errorf("the other one: %v", err)
	}
}

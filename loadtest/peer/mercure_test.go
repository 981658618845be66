package peer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestMercureWire publishes to a small hub and follows there.
func TestMercureWire(t *testing.T) {
	for parameter, modern := range map[string]bool{"topic": false, "match": true} {
		published := make(chan string, 1)
		hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/.well-known/mercure" {
				t.Errorf("called %s", r.URL)
			}
			if r.Method == http.MethodPost {
				mayPublish(t, r)
				if topic := r.PostFormValue("topic"); topic != "a b" {
					t.Errorf("published to %q", topic)
				}
				published <- r.PostFormValue("data")
				_, _ = fmt.Fprint(w, "urn:uuid:1")
				return
			}
			if topic := r.URL.Query().Get(parameter); topic != "a b" || r.Header.Get("Accept") != "text/event-stream" {
				t.Errorf("followed %s %v", r.URL, r.Header)
			}
			_, _ = fmt.Fprint(w, ":\n")
			_ = http.NewResponseController(w).Flush()
			for data := range published {
				_, _ = fmt.Fprintf(w, "id: urn:uuid:1\ndata: %s\n\n", data)
				_ = http.NewResponseController(w).Flush()
			}
		}))
		m := newMercure(strings.TrimPrefix(hub.URL, "http://"), modern, 200)
		f, err := m.Follow("sse", "a b")
		if err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= 3; n++ {
			if err := m.Publish("a b", n); err != nil {
				t.Fatal(err)
			}
			if got, err := f.Next(); got != n || err != nil {
				t.Errorf("message %d is %d, %v", n, got, err)
			}
		}
		if _, err := m.Follow("ws", "a b"); err == nil || !strings.Contains(err.Error(), "--wire=sse") {
			t.Errorf("a WebSocket: %v", err)
		}
		close(published)
		_ = f.Conn.Close()
		m.Rest()
		hub.Close()
	}
}

// mayPublish checks the token of a call.
func mayPublish(t *testing.T, r *http.Request) {
	t.Helper()
	parts := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), ".")
	if len(parts) != 3 {
		t.Fatalf("no token: %v", r.Header)
	}
	mac := hmac.New(sha256.New, []byte(mercureKey))
	mac.Write([]byte(parts[0] + "." + parts[1]))
	if parts[2] != base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) {
		t.Error("the signature is wrong")
	}
	var header struct{ Alg, Typ string }
	var claims struct {
		Iss, Aud string
		Exp      int64
		Mercure  struct{ Publish []string }
		Details  []struct {
			Type    string
			Actions []string
			Topics  []struct{ Match string }
		} `json:"authorization_details"`
	}
	for i, into := range []any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			t.Error(err)
		}
	}
	if header.Alg != "HS256" || header.Typ != "at+jwt" {
		t.Errorf("header %+v", header)
	}
	if claims.Aud != "http://"+r.Host+"/.well-known/mercure" || claims.Iss == "" || claims.Exp == 0 ||
		strings.Join(claims.Mercure.Publish, "") != "*" || len(claims.Details) != 1 || claims.Details[0].Topics[0].Match != "*" || claims.Details[0].Actions[0] != "publish" {
		t.Errorf("claims %+v", claims)
	}
}

func TestMercureVersion(t *testing.T) {
	for text, modern := range map[string]bool{
		"v0.20.2 h1:abc=": false, "Mercure.rocks Hub 0.18.5 (Caddy v2.10.0)": false, "v1.0.0": true, "1.2.3": true, "(devel)": true,
	} {
		if got := mercureModern([]byte(text)); got != modern {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestCentrifugoConfig(t *testing.T) {
	text, err := centrifugoConfig("127.0.0.1:8000", "redis://:secret@127.0.0.1:6379/0")
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"channel":{"without_namespace":{"force_recovery":true,"history_size":100,"history_ttl":"5m"}},` +
		`"client":{"token":{"hmac_secret_key":"load-test-token-secret"}},` +
		`"engine":{"redis":{"address":"redis://:secret@127.0.0.1:6379/0"},"type":"redis"},` +
		`"http_api":{"key":"load-test-api-key"},"http_server":{"address":"127.0.0.1","port":8000},` +
		`"log":{"level":"none"},"uni_sse":{"enabled":true},"usage_stats":{"disabled":true}}`
	if string(text) != want {
		t.Errorf("%s", text)
	}
}

func TestMissingProgramsAreNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, start := range []func() (*Target, error){
		func() (*Target, error) { return startMercure(false, 200) },
		func() (*Target, error) { return startCentrifugo(false, false, 200) },
		func() (*Target, error) { return startNchan(200) },
	} {
		if _, err := start(); err == nil || !strings.Contains(err.Error(), "not on PATH; install") {
			t.Error(err)
		}
	}
}

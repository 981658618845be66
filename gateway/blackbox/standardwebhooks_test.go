package blackbox_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/hark-push/hark/webhook"
)

// TestReferenceReceivers: receivers that were written with the libraries of the standard, in Go and
// in Node, take every delivery, and refuse it with another body, time or key.
func TestReferenceReceivers(t *testing.T) {
	anywhere(t)
	s := startHooks(t)
	t.Run("go", func(t *testing.T) { testReferenceReceiver(t, s, standardReceiver) })
	t.Run("node", func(t *testing.T) {
		folder := nodeFolder(t)
		testReferenceReceiver(t, s, func(t *testing.T, secret string) http.HandlerFunc { return nodeReceiver(t, folder, secret) })
	})
}

func testReferenceReceiver(t *testing.T, s *server, receive func(t *testing.T, secret string) http.HandlerFunc) {
	r := newReceiver(t, nil)
	secret, foreign := webhook.NewSecret().String(), webhook.NewSecret().String()
	verify := receive(t, secret)
	r.answers(verify) // what it refuses is not delivered
	h := s.hook(r.url, map[string]any{"secret": secret})
	const requests = 5
	for n := range requests {
		s.process(s.submit("default", map[string]string{"text": "ü – \u2028 </script>"}, fmt.Sprintf("topic=t%d", n)))
	}
	h.settled()
	if n := len(h.deliveries("?state=delivered")); n != 4*requests || h.health("failures") != 0.0 {
		t.Errorf("%d of %d accepted", n, 4*requests)
	}
	d := r.all()[0]
	old := maps.Clone(d.header)
	old.Set("Webhook-Timestamp", strconv.FormatInt(time.Now().Add(-6*time.Minute).Unix(), 10))
	for name, c := range map[string]struct {
		receiver http.HandlerFunc
		header   http.Header
		body     []byte
		status   int
	}{
		"as it was":  {verify, d.header, d.body, http.StatusNoContent},
		"other body": {verify, d.header, bytes.Replace(d.body, []byte("request.accepted"), []byte("request.succeeded"), 1), http.StatusUnauthorized},
		"old":        {verify, old, d.body, http.StatusUnauthorized},
		"wrong key":  {receive(t, foreign), d.header, d.body, http.StatusUnauthorized},
	} {
		if got := answered(c.receiver, c.header, c.body); got != c.status {
			t.Errorf("%s: %d, want %d", name, got, c.status)
		}
	}
	// Whoever has no secret verifies with the public key.
	var public struct{ Keys []string }
	if err := json.Unmarshal(s.call("GET", "/v1/webhooks/public-key", nil).want(200).body, &public); err != nil {
		t.Fatal(err)
	}
	for _, d := range r.all() {
		if !ed25519Verifies(t, public.Keys[0], d) {
			t.Errorf("%s: no v1a signature by %v", d.id, public.Keys)
		}
	}
	s.call("DELETE", h.path, nil).want(204)
}

// answered is the status that a receiver answers a delivery with.
func answered(receiver http.HandlerFunc, header http.Header, body []byte) int {
	q := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	q.Header = header
	w := httptest.NewRecorder()
	receiver(w, q)
	return w.Code
}

// standardReceiver is what the standard's library for Go makes of a receiver.
func standardReceiver(t *testing.T, secret string) http.HandlerFunc {
	t.Helper()
	hook, err := standard.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	return func(w http.ResponseWriter, q *http.Request) {
		var body bytes.Buffer
		if _, err := body.ReadFrom(q.Body); err != nil || hook.Verify(body.Bytes(), q.Header) != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// ed25519Verifies checks a v1a signature by the words of the specification.
func ed25519Verifies(t *testing.T, key string, d received) bool {
	t.Helper()
	public, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(key, "whpk_"))
	if err != nil {
		t.Fatal(err)
	}
	message := d.id + "." + d.header.Get("Webhook-Timestamp") + "." + string(d.body)
	for signature := range strings.FieldsSeq(d.header.Get("Webhook-Signature")) {
		version, encoded, _ := strings.Cut(signature, ",")
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err == nil && version == "v1a" && ed25519.Verify(public, []byte(message), raw) {
			return true
		}
	}
	return false
}

// nodeScript is a receiver as the standard's library for JavaScript makes it.
const nodeScript = `
import http from 'node:http';
import { Webhook } from 'standardwebhooks';

const webhook = new Webhook(process.env.SECRET);
http.createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  try {
    webhook.verify(Buffer.concat(chunks).toString(), request.headers);
    response.writeHead(204).end();
  } catch (error) {
    response.writeHead(401).end(error.message);
  }
}).listen(0, '127.0.0.1', function () { console.log(this.address().port); });
`

// nodeReceiver starts a receiver in Node, and passes on to it.
func nodeReceiver(t *testing.T, folder, secret string) http.HandlerFunc {
	t.Helper()
	script := filepath.Join(folder, "receiver.mjs")
	if err := os.WriteFile(script, []byte(nodeScript), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", script)
	cmd.Env = append(os.Environ(), "SECRET="+secret)
	cmd.Stderr = testWriter{t}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var port int
	if _, err := fmt.Fscan(out, &port); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	return func(w http.ResponseWriter, q *http.Request) {
		next, err := http.NewRequestWithContext(q.Context(), q.Method, fmt.Sprintf("http://127.0.0.1:%d/", port), q.Body)
		if err != nil {
			t.Error(err)
			return
		}
		next.Header = q.Header
		res, err := client.Do(next)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_ = res.Body.Close()
		w.WriteHeader(res.StatusCode)
	}
}

// standardwebhooksVersion is that of the npm package.
const standardwebhooksVersion = "1.0.0"

// nodeFolder is where Node finds the standard's library.
func nodeFolder(t *testing.T) string {
	t.Helper()
	missing := func(what string) {
		t.Helper()
		if os.Getenv("HARK_REQUIRE_SERVERS") != "" || os.Getenv("CI") != "" {
			t.Fatal(what)
		}
		t.Skip(what)
	}
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			missing(name + " is not on PATH")
		}
	}
	folder := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "npm", "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts",
		"--prefix", folder, "standardwebhooks@"+standardwebhooksVersion).CombinedOutput()
	if err != nil {
		missing(fmt.Sprintf("npm does not install standardwebhooks: %v: %s", err, out))
	}
	return folder
}

// TestRotation: while secrets are exchanged, deliveries verify with both of them.
func TestRotation(t *testing.T) {
	s := startHooks(t)
	r := newReceiver(t, nil)
	h := s.hook(r.url, nil)
	secrets := []string{h.secret}
	rotate := func(overlap string) {
		t.Helper()
		doc := s.call("POST", h.path+"/rotate", map[string]string{"overlap": overlap}).want(200).json()
		secrets = append(secrets, doc["secret"].(string))
	}
	delivered := func() received {
		t.Helper()
		before := r.count()
		s.call("POST", h.path+"/test", nil).want(202)
		s.eventually(func() bool { return r.count() > before })
		return r.all()[before]
	}
	verifiesWith := func(want ...bool) {
		t.Helper()
		d := delivered()
		for i, key := range secrets {
			if got := answered(standardReceiver(t, key), d.header, d.body) == http.StatusNoContent; got != want[i] {
				t.Errorf("with secret %d of %d: %v", i+1, len(secrets), got)
			}
		}
	}
	verifiesWith(true)
	rotate("1h")
	verifiesWith(true, true)
	rotate("24h")
	verifiesWith(true, true, true)
	rotate("0s") // the old ones were stolen
	verifiesWith(false, false, false, true)
	rotate("300ms")
	// The overlap ends: the secret and the key of the service are left.
	s.eventually(func() bool { return len(strings.Fields(delivered().header.Get("Webhook-Signature"))) == 2 })
	verifiesWith(false, false, false, false, true)
}

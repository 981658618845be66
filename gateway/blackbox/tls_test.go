package blackbox_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// certificate writes a certificate of its own for 127.0.0.1, and returns where, and who
// believes it.
func certificate(t *testing.T) (cert, key string, trust *tls.Config) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hark"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: raw}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
	return cert, key, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// TestTLS: streams and sockets go on over TLS as they do without, pings in the midst of
// events to a reader who takes his time included: frames never interleave.
func TestTLS(t *testing.T) {
	anywhere(t)
	cert, key, trust := certificate(t)
	s := start(t, "--tls-cert="+cert, "--tls-key="+key, "--heartbeat=1s")
	s.url = "https" + strings.TrimPrefix(s.url, "http")
	s.http.Transport = validating{t: t, next: &http.Transport{TLSClientConfig: trust}}

	for id, body := range map[string]string{"a": `{"id":"a","content":1}`, "b": `{"id":"b","content":1}`} {
		s.call("POST", "/v1/requests", body, async).want(202)
		s.call("POST", "/v1/work/"+id+"/start", "").want(200)
	}
	r, err := http.NewRequest("GET", s.url+"/v1/requests/a/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	res, err := s.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	ws, _, err := (&websocket.Dialer{TLSClientConfig: trust, Subprotocols: []string{"hark.v1"}}).
		Dial("wss"+strings.TrimPrefix(s.url, "https")+"/v1/ws?channel=request:b", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.Close() }()
	if err := ws.NetConn().(*tls.Conn).NetConn().(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}

	const reports = 300
	filling := strings.Repeat("x", 1900) // together more than sockets hold for a slow reader
	for _, id := range []string{"a", "b"} {
		go func() {
			for n := range reports + 1 {
				path, body := "/progress", fmt.Sprintf(`{"percent":%d,"message":%q}`, n%100, filling)
				if n == reports {
					path, body = "/complete", ""
				}
				if a, err := s.try("POST", "/v1/work/"+id+path, body); err != nil || a.status != 200 {
					t.Errorf("%s: %v %d %s", path, err, a.status, a.body)
					return
				}
			}
		}()
	}
	// Both are read at the same time: a WebSocket that answers no ping for two heartbeats is
	// closed, and pings are answered by whoever reads.
	var streamed, socketed int
	var failed error
	read := make(chan struct{})
	go func() {
		defer close(read)
		socketed, failed = readSocket(ws)
	}()
	streamed, err = readStream(res.Body)
	if err != nil {
		t.Fatal("the stream, after ", streamed, ": ", err)
	}
	<-read
	if failed != nil {
		t.Fatal("the socket, after ", socketed, ": ", failed)
	}
	if want := reports + 3; streamed != want || socketed != want {
		t.Errorf("the stream ended at %d, the socket at %d, want %d", streamed, socketed, want)
	}
}

// readStream reads events up to their end and returns the offset of the last one. One that does
// not follow on the one before is an error.
func readStream(stream io.Reader) (offset int, err error) {
	events := bufio.NewReader(stream)
	for {
		line, err := events.ReadString('\n')
		if err != nil {
			return offset, err
		}
		if n := 0; strings.HasPrefix(line, "id: ") {
			if _, _ = fmt.Sscanf(line, "id: %d", &n); n == 0 && offset == 0 {
				continue // where the stream begins
			}
			if n != offset+1 {
				return offset, fmt.Errorf("event %d", n)
			}
			offset = n
		}
		if strings.HasPrefix(line, "event: end") {
			return offset, nil
		}
	}
}

// readSocket does as readStream, and sends a ping every ten messages.
func readSocket(ws *websocket.Conn) (offset int, err error) {
	for {
		if offset%10 == 0 {
			if err := ws.WriteControl(websocket.PingMessage, []byte("are you there"), time.Now().Add(5*time.Second)); err != nil {
				return offset, err
			}
		}
		_ = ws.SetReadDeadline(time.Now().Add(3 * time.Minute))
		_, text, err := ws.ReadMessage()
		if err != nil {
			return offset, err
		}
		var m struct {
			Op     string
			Offset int
		}
		if err := json.Unmarshal(text, &m); err != nil {
			return offset, err
		}
		switch m.Op {
		case "event":
			if m.Offset != offset+1 {
				return offset, fmt.Errorf("event %d", m.Offset)
			}
			offset = m.Offset
		case "end":
			return offset, nil
		}
	}
}

// TestBodiesOverTLS: bodies wait for leave, and refusals arrive, over TLS too.
func TestBodiesOverTLS(t *testing.T) {
	anywhere(t)
	cert, key, trust := certificate(t)
	s := start(t, "--tls-cert="+cert, "--tls-key="+key, "--max-body=1048576")
	dial := func() *line {
		c, err := tls.Dial("tcp", strings.TrimPrefix(s.url, "http://"), trust)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(3 * time.Minute))
		return &line{t: t, Conn: c, reader: bufio.NewReader(c)}
	}
	const head = "POST /v1/requests HTTP/1.1\nHost: localhost\nContent-Type: application/json\nPrefer: respond-async\nContent-Length: "
	l := dial()
	for range 2 {
		l.send(head+"13\nExpect: 100-continue", "")
		l.want(100)
		_, _ = io.WriteString(l, `{"content":1}`)
		l.want(202)
	}
	l.send(head+"3145728\nExpect: 100-continue", "")
	l.want(413)
	l.closed()
	for range 5 {
		l := dial()
		l.send(head+"3145728", strings.Repeat("x", 3<<20))
		l.want(413)
		l.closed()
	}
}

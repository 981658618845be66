package node

import (
	"crypto/tls"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hark-push/hark/gateway/config"
)

// secure puts TLS onto a listener. The certificate is read again when its file has
// changed, so that a renewed one needs no restart.
func secure(l net.Listener, c config.Config) (net.Listener, error) {
	k := &keyPair{cert: c.TLSCert, key: c.TLSKey}
	if _, err := k.get(nil); err != nil {
		return nil, &config.Error{Key: "tls-cert", Value: c.TLSCert, Allowed: "PEM files of a certificate and its key: " + err.Error()}
	}
	return tls.NewListener(l, &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"}, // a proxy in front speaks HTTP/2
		GetCertificate: k.get,
	}), nil
}

// keyPair is a certificate with its key, in files.
type keyPair struct {
	cert, key string

	mu      sync.Mutex
	pair    *tls.Certificate
	of      time.Time // when the file was changed that pair is of
	checked time.Time
}

// checkEvery is how often the file is checked.
const checkEvery = time.Minute

// get returns the certificate; the one before as long as a new one cannot be read.
func (k *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pair != nil && time.Since(k.checked) < checkEvery {
		return k.pair, nil
	}
	k.checked = time.Now()
	info, err := os.Stat(k.cert)
	if err == nil && k.pair != nil && info.ModTime().Equal(k.of) {
		return k.pair, nil
	}
	if err == nil {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(k.cert, k.key); err == nil {
			k.pair, k.of = &pair, info.ModTime()
		}
	}
	if k.pair != nil {
		return k.pair, nil
	}
	return nil, err
}

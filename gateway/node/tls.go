package node

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hark-push/hark/gateway/config"
	"github.com/hark-push/hark/gateway/filewatch"
)

// secure puts TLS onto a listener. The certificate is read again when its file, or that of its key,
// has changed, so that a renewed one needs no restart.
func secure(l net.Listener, c config.Config) (net.Listener, error) {
	k := newKeyPair(c.TLSCert, c.TLSKey)
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
	mu        sync.Mutex
	cert, key filewatch.File
	pair      *tls.Certificate
	checked   time.Time
}

func newKeyPair(cert, key string) *keyPair {
	return &keyPair{cert: filewatch.New(cert), key: filewatch.New(key)}
}

// checkEvery is how often the files are checked.
const checkEvery = time.Minute

// get returns the certificate; the one before as long as a new one cannot be read.
func (k *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pair != nil && time.Since(k.checked) < checkEvery {
		return k.pair, nil
	}
	k.checked = time.Now()
	err := k.load()
	if k.pair != nil {
		return k.pair, nil
	}
	return nil, err
}

// load reads the files if one of them may have changed. If they do not belong together, or one
// cannot be read, it is tried again the next time. mu is held.
func (k *keyPair) load() error {
	newCert, err1 := k.cert.Changed()
	newKey, err2 := k.key.Changed()
	err := errors.Join(err1, err2)
	if err == nil && !newCert && !newKey {
		return nil
	}
	var pair tls.Certificate
	if err == nil {
		pair, err = tls.LoadX509KeyPair(k.cert.Path(), k.key.Path())
	}
	if err != nil {
		k.cert.Forget()
		return err
	}
	k.pair = &pair
	return nil
}

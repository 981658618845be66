package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestRenewedCertificate: a certificate is taken without a restart when it is renewed, whichever of
// its files is replaced first, and the one before holds while they do not belong together.
func TestRenewedCertificate(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write := func(path, kind string, der []byte) {
		t.Helper()
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	issue := func(serial int64) (cert, key []byte) {
		t.Helper()
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
		if cert, err = x509.CreateCertificate(rand.Reader, template, template, private.Public(), private); err != nil {
			t.Fatal(err)
		}
		if key, err = x509.MarshalPKCS8PrivateKey(private); err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
	k := newKeyPair(certFile, keyFile)
	if _, err := k.get(nil); err == nil {
		t.Error("there are no files")
	}
	check := func(what string, serial int64) {
		t.Helper()
		k.checked = time.Time{} // a minute has passed
		pair, err := k.get(nil)
		if err != nil || pair.Leaf.SerialNumber.Int64() != serial {
			t.Errorf("%s: %v, want number %d", what, err, serial)
		}
	}
	cert, key := issue(1)
	write(certFile, "CERTIFICATE", cert)
	write(keyFile, "PRIVATE KEY", key)
	check("the first one", 1)
	cert, key = issue(2)
	write(certFile, "CERTIFICATE", cert)
	check("with the key of another", 1)
	write(keyFile, "PRIVATE KEY", key)
	check("with its key", 2)
	cert, key = issue(3)
	write(keyFile, "PRIVATE KEY", key)
	check("the key came first", 2)
	write(certFile, "CERTIFICATE", cert)
	check("and then the certificate", 3)
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	check("it is gone", 3)
	k.checked = time.Now()
	write(certFile, "CERTIFICATE", []byte("none"))
	if pair, err := k.get(nil); err != nil || pair.Leaf.SerialNumber.Int64() != 3 {
		t.Errorf("within the minute: %v", err)
	}
}

package doctor

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/node"
)

const (
	// leastFree is how much room a disk should have, in bytes.
	leastFree = 256 << 20
	// fewFiles is below which number of descriptors a gateway is too small for most.
	fewFiles = 1024
	// soon is how long before its end a certificate should be renewed.
	soon = 7 * 24 * time.Hour
)

// files looks at those that the configuration names.
func (d *doctor) files() {
	const about = "configuration"
	c := &d.config
	if c.Keys != "" {
		text, err := os.ReadFile(c.Keys)
		if err == nil {
			_, err = auth.ListKeys(text)
		}
		if err != nil {
			d.find(about, "the keys of "+c.Keys+" cannot be taken", err.Error(), "correct the file: each entry is as hark keys new NAME prints it")
		}
	}
	if c.TLSCert != "" && c.TLSKey != "" {
		pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		switch {
		case err != nil:
			d.find(about, "the certificate "+c.TLSCert+" cannot be used", err.Error(), "name a PEM file of the certificate with --tls-cert, and that of its key with --tls-key")
		case pair.Leaf != nil && time.Until(pair.Leaf.NotAfter) < soon:
			d.find(about, fmt.Sprintf("the certificate %s ends at %s", c.TLSCert, pair.Leaf.NotAfter.UTC().Format(time.RFC3339)), "it was not renewed", "renew it; the gateway reads the file again by itself")
		}
	}
}

// machine looks at descriptors and, with the embedded store, at the disk.
func (d *doctor) machine() {
	const about = "machine"
	c := &d.config
	limit, known, err := node.OpenFiles(*c)
	switch raise := "ulimit -n 20000 in the shell that starts it, LimitNOFILE=20000 in its systemd unit, or --ulimit nofile=20000 of docker run"; {
	case err != nil:
		d.find(about, "the gateway does not start: it would have too few descriptors", err.Error(), "raise the limit: "+raise)
	case known && limit < fewFiles:
		d.find(about, fmt.Sprintf("a gateway that is started here may have %d files and connections open", limit), "each stream is one, and the limit of this process (ulimit -n) is low", "raise the limit: "+raise)
	}
	if c.Redis == "" {
		d.disk(c.Data)
	}
}

// disk looks whether a store can be in a folder. What it writes there is gone when it returns.
func (d *doctor) disk(folder string) {
	const about = "machine"
	at, err := filepath.Abs(folder)
	if err != nil {
		at = folder
	}
	there := at
	for { // the gateway makes the folder, so the one above it counts
		info, err := os.Stat(there)
		if err == nil && info.IsDir() {
			break
		}
		up := filepath.Dir(there)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || up == there {
			if err == nil {
				err = errors.New(there + " is no folder")
			}
			d.find(about, "the store cannot be in "+folder, err.Error(), "name a folder that the gateway may write to with --data (HARK_DATA)")
			return
		}
		there = up
	}
	if err := tryWriting(there); err != nil {
		cause, remedy := err.Error(), "let the user of the gateway write there (chown), or name another folder with --data (HARK_DATA)"
		if full(err) {
			remedy = "make room: delete what is not needed, enlarge the disk, or name a folder on another one with --data (HARK_DATA). What was accepted is kept"
		}
		d.find(about, "nothing can be stored in "+folder, cause, remedy)
		return
	}
	if free, known := freeBytes(there); known && free < leastFree {
		d.find(about, fmt.Sprintf("the disk of %s has %d MiB left", folder, free>>20), "what is stored grows with requests and with --retention",
			"make room, or name a folder on another disk with --data (HARK_DATA); a full disk means 503, not loss")
	}
}

// tryWriting writes as much as a small request takes, and removes it.
func tryWriting(folder string) (err error) {
	f, err := os.CreateTemp(folder, ".hark-doctor-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(make([]byte, 64<<10))
	return errors.Join(err, f.Sync(), f.Close())
}

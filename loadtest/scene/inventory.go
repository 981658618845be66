package scene

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"

	goredis "github.com/redis/go-redis/v9"
	bolt "go.etcd.io/bbolt"
)

// keysOf counts the keys of a gateway's store in Redis, by kind: what stands behind the hash tag,
// up to a colon.
func keysOf(ctx context.Context, url string) (map[string]float64, error) {
	o, err := goredis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	c := goredis.NewClient(o)
	defer func() { _ = c.Close() }()
	found := make(map[string]float64)
	for keys := c.Scan(ctx, 0, "hark:*", 1000).Iterator(); ; {
		if !keys.Next(ctx) {
			return found, keys.Err()
		}
		_, name, _ := strings.Cut(keys.Val(), "}:")
		kind, rest, more := strings.Cut(name, ":")
		if kind == "w" { // of webhooks
			inner, _, _ := strings.Cut(rest, ":")
			kind += ":" + inner
		}
		if more {
			kind += ":"
		}
		switch kind {
		case "", "clock", "floor", "relayed", "w:kept:", "lead:", "callback:", "n:", "stand":
			// There is one of each, whatever happens.
			kind = "once: " + kind
		default:
			kind = "keys " + kind
		}
		found[kind]++
	}
}

// bucketsOf counts the keys of an embedded store, by bucket, in a copy of its file. While somebody
// writes, a copy may be torn: then there are no counts. What the log holds that is beside it is not
// counted, so it is to be asked when the store is at rest.
func bucketsOf(data string) (map[string]float64, error) {
	found := make(map[string]float64)
	size, err := folderSize(data)
	if err != nil {
		return nil, err
	}
	found["files, MB"] = size / (1 << 20)
	copied, err := copyOf(filepath.Join(data, "hark.db"))
	if err != nil {
		return found, err
	}
	defer func() { _ = os.Remove(copied) }()
	_ = count(copied, found) // torn
	return found, nil
}

func count(path string, found map[string]float64) (err error) {
	defer func() {
		if torn := recover(); torn != nil {
			err = errors.New("the copy is torn")
		}
	}()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	counted := make(map[string]float64)
	if err := db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			kind := "bucket " + string(name)
			if string(name) == "meta" || string(name) == "kept" {
				kind = "once: " + string(name)
			}
			counted[kind] = float64(b.Stats().KeyN)
			return nil
		})
	}); err != nil {
		return err
	}
	maps.Copy(found, counted)
	return nil
}

func copyOf(path string) (string, error) {
	from, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = from.Close() }()
	to, err := os.CreateTemp("", "hark-copy-")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(to, from)
	return to.Name(), errors.Join(err, to.Close())
}

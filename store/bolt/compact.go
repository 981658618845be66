package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/store/bolt/wal"
	"github.com/hark-push/hark/store/codec"
)

// compactBytes is how much is copied in one transaction.
const compactBytes = 8 << 20

// Compact writes the file of the closed store at path anew, without the pages that are free in it,
// and returns how large it was and is, in bytes. What is in the log comes into the file before.
// Beside the file there must be room for the new one; it takes the old one's place when it is
// complete. damages is told of what is found damaged.
func Compact(path string, damages *codec.Damages) (before, after int64, err error) {
	if err := begun(path); err != nil {
		return 0, 0, refused(path, err)
	}
	s, err := Open(path, Options{Damages: damages})
	if err != nil {
		return 0, 0, err
	}
	if err := s.Close(); err != nil {
		return 0, 0, err
	}
	from, err := openFile(path, Options{})
	if err != nil {
		return 0, 0, refused(path, err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	first, err := readFirstPages(path)
	if err != nil {
		return 0, 0, refused(path, err)
	}
	if err := belong(from, path, first); err != nil { // somebody was faster
		return 0, 0, refused(path, err)
	}
	if before, err = sizeOf(path); err != nil {
		return 0, 0, err
	}
	made := path + ".compact"
	if err := os.Remove(made); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, 0, err
	}
	if err := copyInto(made, from); err != nil {
		return 0, 0, errors.Join(fmt.Errorf("compact %s, which was not changed: %w", path, err), os.Remove(made))
	}
	if after, err = sizeOf(made); err != nil {
		return 0, 0, err
	}
	if runtime.GOOS == "windows" {
		// Windows renames nothing to the name of an open file; elsewhere nobody comes in between.
		if err := from.Close(); err != nil {
			return 0, 0, err
		}
	}
	if err := os.Rename(made, path); err != nil {
		return 0, 0, errors.Join(err, os.Remove(made))
	}
	return before, after, wal.SyncDir(filepath.Dir(path))
}

func sizeOf(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// copyInto copies a database into a new file.
func copyInto(path string, from *bolt.DB) (err error) {
	defer recoverDamage(&err)
	to, err := bolt.Open(path, 0o600, &bolt.Options{
		Timeout: lockWait, PageSize: from.Info().PageSize, NoFreelistSync: true, FreelistType: bolt.FreelistMapType, NoSync: true,
	})
	if err != nil {
		return err
	}
	to.AllocSize = 1 << 20 // it is as large as it must be
	err = bolt.Compact(to, from, compactBytes)
	if err == nil {
		mirror(to)
		err = to.Sync()
	}
	return errors.Join(err, to.Close())
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/hark-push/hark/backends"
	"github.com/hark-push/hark/gateway/config"
	"github.com/hark-push/hark/store/bolt"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/store/redis"
	"github.com/hark-push/hark/store/transfer"
)

// How `gateway store` ends.
const (
	exitDone    = 0
	exitDamaged = 1 // or it failed
	exitUsage   = 2
	exitInUse   = 3
)

// runStore does what is asked for behind `gateway store`. What an export writes goes to out, words
// about it to errOut.
func runStore(args []string, in io.Reader, out, errOut io.Writer) int {
	c, err := config.ParseStore(args, out)
	switch {
	case errors.Is(err, config.ErrHelp):
		return exitDone
	case err != nil:
		_, _ = fmt.Fprintln(errOut, "hark:", err)
		return exitUsage
	}
	k := storeKeeper{c: c, path: filepath.Join(c.Data, "hark.db"), in: in, out: out, errOut: errOut}
	switch c.Command {
	case "check":
		err = k.check()
	case "export":
		err = k.export()
	case "import":
		err = k.load()
	case "compact":
		err = k.compact()
	default:
		err = k.discard()
	}
	if err != nil {
		_, _ = fmt.Fprintln(errOut, "hark:", err)
	}
	switch {
	case errors.Is(err, bolt.ErrInUse):
		return exitInUse
	case err != nil || k.damages > 0:
		return exitDamaged
	default:
		return exitDone
	}
}

type storeKeeper struct {
	c           config.Store
	path        string
	in          io.Reader
	out, errOut io.Writer
	damages     int
}

// tell says one thing that is damaged.
func (k *storeKeeper) tell(err error) {
	k.damages++
	_, _ = fmt.Fprintln(k.errOut, "damaged:", err)
}

// tellMended has what is found damaged, and does not end a command, told where errors are.
func (k *storeKeeper) tellMended() *codec.Damages {
	return codec.NewDamages(slog.New(slog.NewTextHandler(k.errOut, nil)))
}

func (k *storeKeeper) redis(ctx context.Context) (*redis.Store, error) {
	s, err := redis.Open(ctx, k.c.Redis, redis.Options{Prefix: k.c.Prefix, Partitions: k.c.Partitions})
	if err != nil {
		return nil, fmt.Errorf("redis (--redis, HARK_REDIS) at %s: %w", backends.Redact(k.c.Redis), err)
	}
	return s, nil
}

func (k *storeKeeper) check() error {
	if k.c.Redis != "" {
		s, err := k.redis(context.Background())
		if err != nil {
			return err
		}
		lines := 0
		err = s.Export(func(transfer.Line) error { lines++; return nil }, k.tell)
		if err = errors.Join(err, s.Close()); err == nil {
			_, err = fmt.Fprintf(k.out, "%d entries were looked at, %d things are damaged\n", lines, k.damages)
		}
		return err
	}
	sum, err := bolt.Check(k.path, k.tell)
	if err != nil {
		return err
	}
	used := int64(sum.Pages) * int64(sum.PageSize)
	_, err = fmt.Fprintf(k.out, "%s: layout %d, %d requests, %d of %d bytes are in use, the log has %d; %d things are damaged\n",
		k.path, sum.Version, sum.Requests, used, sum.Size, sum.Log, k.damages)
	return err
}

func (k *storeKeeper) export() (err error) {
	to := k.out
	if name := k.c.Export.File; name != "-" {
		file, failed := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // there are secrets in it
		if failed != nil {
			return fmt.Errorf("export: %w", failed)
		}
		defer func() {
			if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
				err = errors.Join(err, os.Remove(name)) // half of an export is none
			}
		}()
		to = file
	}
	var lines int
	if lines, err = k.write(to); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(k.errOut, "%d lines were exported; secrets of webhooks and the key of tickets are among them\n", lines)
	return nil
}

func (k *storeKeeper) write(to io.Writer) (lines int, err error) {
	var skip func(error)
	if k.c.Export.Salvage {
		skip = k.tell
	}
	if k.c.Redis != "" {
		s, err := k.redis(context.Background())
		if err != nil {
			return 0, err
		}
		lines, err = transfer.Write(to, s, skip)
		return lines, errors.Join(err, s.Close())
	}
	if _, err := os.Stat(k.path); err != nil {
		return 0, fmt.Errorf("there is no store: %w", err)
	}
	if k.c.Export.Salvage {
		return bolt.Salvage(k.path, to, k.tell)
	}
	s, err := bolt.Open(k.path, bolt.Options{Damages: k.tellMended()})
	if err != nil {
		return 0, err
	}
	lines, err = transfer.Write(to, s, skip)
	return lines, errors.Join(err, s.Close())
}

func (k *storeKeeper) load() (err error) {
	from := k.in
	if name := k.c.Import.File; name != "-" {
		file, failed := os.Open(name)
		if failed != nil {
			return fmt.Errorf("import: %w", failed)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		from = file
	}
	var seen transfer.Seen
	lines := transfer.Read(from, &seen)
	where := k.path
	if k.c.Redis != "" {
		where = "Redis at " + backends.Redact(k.c.Redis)
		err = redis.Import(context.Background(), k.c.Redis, redis.Options{Prefix: k.c.Prefix, Partitions: k.c.Partitions}, lines)
	} else {
		err = bolt.Import(k.path, lines)
	}
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	if !seen.Summed {
		_, _ = fmt.Fprintln(k.errOut, "the export has no sum: an older version wrote it, and whether it was changed since cannot be told")
	}
	_, err = fmt.Fprintf(k.out, "%d lines were imported into %s\n", seen.Lines, where)
	return err
}

func (k *storeKeeper) compact() error {
	before, after, err := bolt.Compact(k.path, k.tellMended())
	if err == nil {
		_, err = fmt.Fprintf(k.out, "%s had %d bytes and has %d\n", k.path, before, after)
	}
	return err
}

func (k *storeKeeper) discard() error {
	kept, err := bolt.DiscardLog(k.path)
	switch {
	case err != nil:
		return err
	case kept == "":
		_, err = fmt.Fprintf(k.out, "%s had no log, and is used without one from now on\n", k.path)
	default:
		_, err = fmt.Fprintf(k.out, "%s is used without its log, which is %s now\n", k.path, kept)
	}
	return err
}

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
	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/store/bolt"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/store/redis"
	"github.com/hark-push/hark/store/transfer"
)

// How `hark store` ends.
const (
	exitDone    = 0
	exitDamaged = 1 // or it failed
	exitUsage   = 2
	exitInUse   = 3
)

// runStore does what is asked for behind `hark store`. What an export writes goes to out, words
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
	cmd := storeCommand{c: c, path: filepath.Join(c.Data, "hark.db"), in: in, out: out, errOut: errOut}
	switch c.Command {
	case "check":
		err = cmd.check()
	case "export":
		err = cmd.export()
	case "import":
		err = cmd.load()
	case "compact":
		err = cmd.compact()
	default:
		err = cmd.discard()
	}
	if err != nil {
		_, _ = fmt.Fprintln(errOut, "hark:", err)
	}
	switch {
	case errors.Is(err, bolt.ErrInUse):
		return exitInUse
	case err != nil || cmd.damages > 0:
		return exitDamaged
	default:
		return exitDone
	}
}

type storeCommand struct {
	c           config.Store
	path        string
	in          io.Reader
	out, errOut io.Writer
	damages     int
}

// tell says one thing that is damaged.
func (cmd *storeCommand) tell(err error) {
	cmd.damages++
	_, _ = fmt.Fprintln(cmd.errOut, "damaged:", err)
}

// tellMended has what is found damaged, and does not end a command, told where errors are.
func (cmd *storeCommand) tellMended() *codec.Damages {
	return codec.NewDamages(slog.New(slog.NewTextHandler(cmd.errOut, nil)))
}

func (cmd *storeCommand) redis(ctx context.Context) (*redis.Store, error) {
	s, err := redis.Open(ctx, cmd.c.Redis, redis.Options{Prefix: cmd.c.Prefix, Partitions: cmd.c.Partitions})
	if err != nil {
		return nil, fmt.Errorf("redis (--redis, HARK_REDIS) at %s: %w", backends.Redact(cmd.c.Redis), err)
	}
	return s, nil
}

func (cmd *storeCommand) check() error {
	if cmd.c.Redis != "" {
		s, err := cmd.redis(context.Background())
		if err != nil {
			return err
		}
		lines := 0
		err = s.Export(func(transfer.Line) error { lines++; return nil }, cmd.tell)
		if err = errors.Join(err, s.Close()); err == nil {
			_, err = fmt.Fprintf(cmd.out, "%d entries were looked at, %d things are damaged\n", lines, cmd.damages)
		}
		return err
	}
	sum, err := bolt.Check(cmd.path, cmd.tell)
	if err != nil {
		return err
	}
	used := int64(sum.Pages) * int64(sum.PageSize)
	_, err = fmt.Fprintf(cmd.out, "%s: layout %d, %d requests, %d of %d bytes are in use, the log has %d; %d things are damaged\n",
		cmd.path, sum.Version, sum.Requests, used, sum.Size, sum.Log, cmd.damages)
	return err
}

func (cmd *storeCommand) export() (err error) {
	to := cmd.out
	if name := cmd.c.Export.File; name != "-" {
		// There are secrets in the file.
		file, failed := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
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
	if lines, err = cmd.write(to); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(cmd.errOut, "%d lines were exported; secrets of webhooks and the key of tickets are among them\n", lines)
	return nil
}

func (cmd *storeCommand) write(to io.Writer) (lines int, err error) {
	var skip func(error)
	if cmd.c.Export.Salvage {
		skip = cmd.tell
	}
	if cmd.c.Redis != "" {
		s, err := cmd.redis(context.Background())
		if err != nil {
			return 0, err
		}
		lines, err = transfer.Write(to, s, wire.JSON, skip)
		return lines, errors.Join(err, s.Close())
	}
	if _, err := os.Stat(cmd.path); err != nil {
		return 0, fmt.Errorf("there is no store: %w", err)
	}
	if cmd.c.Export.Salvage {
		return bolt.Salvage(cmd.path, to, wire.JSON, cmd.tell)
	}
	s, err := bolt.Open(cmd.path, bolt.Options{Damages: cmd.tellMended()})
	if err != nil {
		return 0, err
	}
	lines, err = transfer.Write(to, s, wire.JSON, skip)
	return lines, errors.Join(err, s.Close())
}

func (cmd *storeCommand) load() (err error) {
	from := cmd.in
	if name := cmd.c.Import.File; name != "-" {
		file, failed := os.Open(name)
		if failed != nil {
			return fmt.Errorf("import: %w", failed)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		from = file
	}
	var seen transfer.Seen
	lines := transfer.Read(from, &seen)
	where := cmd.path
	if cmd.c.Redis != "" {
		where = "Redis at " + backends.Redact(cmd.c.Redis)
		err = redis.Import(context.Background(), cmd.c.Redis, redis.Options{Prefix: cmd.c.Prefix, Partitions: cmd.c.Partitions}, lines)
	} else {
		err = bolt.Import(cmd.path, lines)
	}
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	if !seen.Summed {
		_, _ = fmt.Fprintln(cmd.errOut, "the export has no sum: an older version wrote it, and whether it was changed since cannot be told")
	}
	_, err = fmt.Fprintf(cmd.out, "%d lines were imported into %s\n", seen.Lines, where)
	return err
}

func (cmd *storeCommand) compact() error {
	before, after, err := bolt.Compact(cmd.path, cmd.tellMended())
	if err == nil {
		_, err = fmt.Fprintf(cmd.out, "%s had %d bytes and has %d\n", cmd.path, before, after)
	}
	return err
}

func (cmd *storeCommand) discard() error {
	kept, err := bolt.DiscardLog(cmd.path)
	switch {
	case err != nil:
		return err
	case kept == "":
		_, err = fmt.Fprintf(cmd.out, "%s had no log, and is used without one from now on\n", cmd.path)
	default:
		_, err = fmt.Fprintf(cmd.out, "%s is used without its log, which is %s now\n", cmd.path, kept)
	}
	return err
}

package servertest

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Postgres starts a PostgreSQL with the empty database postgres, to which everybody may do
// everything. Its data are not kept through a failure of power.
func Postgres(t testing.TB) *Server {
	t.Helper()
	require(t, "initdb", "postgresql")
	require(t, "postgres", "postgresql")
	return open(t, func(dir string) *Server {
		user := &syscall.SysProcAttr{}
		if os.Getuid() == 0 { // whom PostgreSQL refuses
			const nobody = 65534
			user.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
			if err := os.Chown(dir, nobody, nobody); err != nil {
				t.Fatal(err)
			}
		}
		data, addr := filepath.Join(dir, "data"), freeAddr()
		create := exec.Command("initdb", "--pgdata="+data, "--username=hark", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
		create.Dir, create.SysProcAttr = dir, user
		if out, err := create.CombinedOutput(); err != nil {
			t.Fatalf("initdb: %v\n%s", err, out)
		}
		return &Server{
			Addr: addr,
			URL:  "postgres://hark@" + addr + "/postgres?sslmode=disable",
			log:  filepath.Join(dir, "postgres.log"),
			command: func() *exec.Cmd {
				c := exec.Command("postgres", "-D", data, "-h", "127.0.0.1", "-p", port(addr), "-k", "", "-c", "fsync=off")
				c.Dir, c.SysProcAttr = dir, &syscall.SysProcAttr{Credential: user.Credential}
				return c
			},
			usable: func() error { return greet(addr) },
		}
	})
}

// greet asks PostgreSQL whether it takes clients.
func greet(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	const hello = "\x00\x03\x00\x00user\x00hark\x00database\x00postgres\x00\x00" // of protocol 3.0
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, 4+uint32(len(hello))), hello...)); err != nil {
		return err
	}
	var kind [1]byte
	// It may say E, that it starts up.
	if _, err := io.ReadFull(conn, kind[:]); err != nil || kind[0] != 'R' {
		return fmt.Errorf("greeting: %q, %w", kind, err)
	}
	return nil
}

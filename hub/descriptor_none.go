//go:build windows || nodescriptor

package hub

import (
	"errors"
	"net"
)

const takesDescriptors = false

// takeDescriptor takes none: a handle of Windows is no descriptor that can be written to without
// waiting, so every write goes through the flusher.
func takeDescriptor(conn net.Conn) (rest net.Conn, fd int32) { return conn, -1 }

// What follows is never called, because there is no descriptor.

func writeDescriptor(int32, []byte) (int, error) { return 0, errors.ErrUnsupported }
func readDescriptor(int32, []byte) (int, error)  { return 0, errors.ErrUnsupported }
func shutdownDescriptor(int32)                   {}
func closeDescriptor(int32)                      {}

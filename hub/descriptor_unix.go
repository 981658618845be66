//go:build unix && !nodescriptor

package hub

import "syscall"

const takesDescriptors = true

func writeDescriptor(fd int32, b []byte) (int, error) { return syscall.Write(int(fd), b) }

func readDescriptor(fd int32, b []byte) (int, error) { return syscall.Read(int(fd), b) }

// shutdownDescriptor tells the peer that nothing follows.
func shutdownDescriptor(fd int32) { _ = syscall.Shutdown(int(fd), syscall.SHUT_WR) }

func closeDescriptor(fd int32) { _ = syscall.Close(int(fd)) }

// Sends BYTES bytes of PATH to URL in chunks, as net/http does with a body of unknown length:
//
//	send URL PATH BYTES
//
// net/http copies the body through 32 KiB and writes each chunk through a buffer of 4 KiB. The size line
// with the first of the data, the rest of the data, and the end of the chunk are three system calls.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
)

func send(url, path, bytes string) error {
	count, err := strconv.ParseInt(bytes, 10, 64)
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	response, err := http.Post(url, "application/octet-stream", io.LimitReader(file, count))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answered %s", response.Status)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

func main() {
	if err := send(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

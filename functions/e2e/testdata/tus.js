// Uploads a file by tus-js-client: node tus.js URL TOKEN FILE BYTES, where BYTES is the size of the pieces.
const fs = require('fs')
const tus = require('tus-js-client')

const [endpoint, token, file, bytes] = process.argv.slice(2)
const upload = new tus.Upload(fs.createReadStream(file), {
  endpoint,
  chunkSize: Number(bytes),
  headers: { Authorization: 'Bearer ' + token },
  metadata: { filename: 'talk.mp4', filetype: 'video/mp4', bitrate: '64' },
  retryDelays: Array(50).fill(100),
  onError(err) { console.error(err); process.exit(1) },
  onSuccess() { console.log(upload.url) },
})
upload.start()

// What is surely no video and no sound, so that it need not be sent to be refused. Of the rest the service judges.

// The kinds that browsers know by a file's name.
const never = new RegExp('^(image|text|font|model)/|^application/(pdf|zip|json|xml|msword|rtf|gzip|epub|javascript|' +
  'vnd.(ms-|openxml|oasis|android)|x-(7z|zip|tar|rar|msdownload|sh|iso|debian|bzip|xz))');
const names = /(^|\/)(\.[^/]*|thumbs\.db|desktop\.ini)$|\.(srt|vtt|nfo|txt|exe|dll|dmg|iso|docx?|xlsx?|pptx?)$/i;

// What such files begin with, whatever they are called: PDF, ZIP, RAR, 7z, gzip, xz, programs, pictures.
const begins = new RegExp('^(%PDF-|PK[\x03\x05]|Rar!|7z\xbc\xaf|\x1f\x8b\x08|\xfd7zXZ|\x7fELF|MZ|' +
  '\x89PNG|\xff\xd8\xff|GIF8|BM.{4}\0{4}|II\\*\0|MM\0\\*|RIFF.{4}WEBP|.{4}ftyp(hei[cx]|mif1|avif))', 's');

// isText tells whether there are only letters and signs, as UTF-8.
function isText(head) {
  try {
    return !/[\0-\x08\x0e-\x1f\x7f]/.test(new TextDecoder('utf-8', { fatal: true }).decode(head, { stream: true }));
  } catch {
    return false;
  }
}

// mayBeMedia tells whether a file may be a video or a sound. One that cannot be read may be.
export async function mayBeMedia(file) {
  if (never.test(file.type) || names.test(file.name)) return false;
  const head = await file.slice(0, 512).arrayBuffer().catch(() => null);
  if (!head?.byteLength) return true;
  const bytes = new Uint8Array(head);
  return !begins.test(String.fromCharCode(...bytes.subarray(0, 16))) && !isText(bytes);
}

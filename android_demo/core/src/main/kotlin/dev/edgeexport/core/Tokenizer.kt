package dev.edgeexport.core

import java.io.ByteArrayOutputStream
import java.io.File

/**
 * A prompt as the conditioner takes it: [ids] and [mask], 1 for tokens of the prompt and 0 for padding.
 *
 * @property tokens how many of them are the prompt's, `</s>` among them.
 * @property dropped tokens that did not fit.
 * @property unknown how many of [tokens] are `<unk>`, what the model has no piece for.
 * @property spelledOut the words of three characters or more that the model reads letter by letter, each once.
 */
public class Prompt internal constructor(
    public val ids: IntArray,
    public val mask: FloatArray,
    public val tokens: Int,
    public val dropped: Int,
    public val unknown: Int,
    public val spelledOut: List<String>,
)

/**
 * Text to token ids: sentencepiece's unigram model, exactly, without sentencepiece.
 *
 * Normalise by the model's own charsmap, then the most probable segmentation (Kudo 2018, arXiv 1804.10959). Text like
 * "</s>" is text: special tokens are never read out of a prompt. It knows no model beyond ids.
 */
internal class Tokenizer(private val model: TokenizerModel) {
    private val charsmap = Charsmap(model.charsmap)

    /** Piece -> id of all that text can become. */
    private val vocabulary = HashMap<String, Int>(model.pieces.size * 2)

    /** Of the longest piece, in characters. */
    private val longest: Int

    /** The user-defined symbols in UTF-8, longest first. */
    private val symbols: List<ByteArray>
    private val scores = model.scores.copyOf()
    private val unknownScore: Float

    init {
        for ((id, piece) in model.pieces.withIndex()) {
            val kind = model.types[id]
            if (kind == NORMAL || kind == USER_DEFINED) vocabulary[piece] = id
            // A user-defined symbol wins against pieces: this is sentencepiece 0.2.3's formula; earlier ones differ.
            if (kind == USER_DEFINED) scores[id] = (USER_DEFINED_BONUS * (piece.toByteArray().size - 1)).toFloat()
        }
        longest = vocabulary.keys.maxOf { it.codePointCount(0, it.length) }
        symbols = model.piecesOf(USER_DEFINED).map { it.toByteArray() }.sortedByDescending { it.size }
        unknownScore = model.types.indices.filter { model.types[it] == NORMAL }.minOf { model.scores[it] } - PENALTY
    }

    /** Ids of [text] without `</s>`: what `SentencePieceProcessor.encode` gives; lone surrogates are U+FFFD. */
    fun encode(text: String): List<Int> = segment(normalize(text))

    /**
     * Ids and mask of exactly [length]: at most `length - 1` pieces, `</s>`, padding.
     *
     * @throws UsageException [length] leaves no room for `</s>`.
     */
    fun encodePrompt(text: String, length: Int): Prompt {
        if (length < 1) throw UsageException("a prompt of $length tokens cannot hold </s>; ask for 1 or more")
        val pieces = encode(text)
        val own = pieces.take(length - 1)
        val kept = own + model.endId
        return Prompt(
            ids = IntArray(length) { kept.getOrElse(it) { model.padId } },
            mask = FloatArray(length) { if (it < kept.size) 1f else 0f },
            tokens = kept.size,
            dropped = pieces.size - own.size,
            unknown = kept.count { it == model.unknownId },
            spelledOut = spelledOut(own),
        )
    }

    private fun spelledOut(ids: List<Int>): List<String> {
        val words = arrayListOf(ArrayList<String>())
        for (piece in ids.map { model.pieces[it] }) {
            if (piece.startsWith(SPACE)) words += ArrayList<String>()
            words.last() += piece.removePrefix(SPACE)
        }
        val spelled = words.filter { word -> word.all { it.points() <= 1 } }.map { it.joinToString("") }
        return spelled.filter { it.points() >= LEAST_SPELLED }.distinct()
    }

    /** Characters replaced by the charsmap, runs of spaces folded, spaces written as U+2581. */
    internal fun normalize(text: String): String {
        if (text.isEmpty()) return ""
        val made = ByteArrayOutputStream()
        if (model.addDummyPrefix) made.write(BLANK)
        val folding = model.removeExtraWhitespaces
        var afterSpace = folding
        eachReplaced(utf8(text)) { part ->
            var from = 0
            while (afterSpace && from < part.size && part[from] == BLANK_BYTE) from++
            if (from < part.size) {
                made.write(part, from, part.size - from)
                afterSpace = folding && part.last() == BLANK_BYTE
            }
        }
        val spaced = made.toString("UTF-8")
        val escaped = if (model.escapeWhitespaces) spaced.replace(" ", SPACE) else spaced
        return if (folding) escaped.trimEnd(if (model.escapeWhitespaces) SPACE[0] else ' ') else escaped
    }

    /** What each stretch of UTF-8 becomes: the longest match; user-defined symbols and all else as they are. */
    private inline fun eachReplaced(data: ByteArray, action: (ByteArray) -> Unit) {
        var position = 0
        while (position < data.size) {
            val symbol = symbolAt(data, position)
            val match = if (symbol == 0) charsmap.longest(data, position) else null
            val length = if (symbol > 0) symbol else match?.length ?: characterBytes(data[position])
            action(
                match?.replacement
                    ?: if (length > 0) data.copyOfRange(position, position + length) else REPLACEMENT,
            )
            position += maxOf(1, length)
        }
    }

    /** Bytes of the longest user-defined symbol that starts at [position]; 0 if none does. */
    private fun symbolAt(data: ByteArray, position: Int): Int = symbols.firstOrNull { symbol ->
        position + symbol.size <= data.size && symbol.indices.all { data[position + it] == symbol[it] }
    }?.size ?: 0

    /**
     * Viterbi over character positions; a tie goes to the candidate found first, the piece that starts first.
     *
     * Sums are rounded to float32 after each piece, as sentencepiece keeps them, because that decides ties. A character
     * that is no piece may stand alone as unknown.
     */
    private fun segment(text: String): List<Int> {
        val places = placesOf(text)
        val count = places.size - 1
        val best = FloatArray(count + 1) { if (it == 0) 0f else Float.NEGATIVE_INFINITY }
        val from = IntArray(count + 1)
        val piece = IntArray(count + 1)
        for (start in 0 until count) {
            for (end in start + 1..minOf(start + longest, count)) {
                val found = vocabulary[text.substring(places[start], places[end])]
                if (found == null && end > start + 1) continue
                val reached = best[start] + if (found == null) unknownScore else scores[found]
                if (reached > best[end]) {
                    best[end] = reached
                    from[end] = start
                    piece[end] = found ?: model.unknownId
                }
            }
        }
        return trace(from, piece)
    }

    /** Ids along the best path; neighbouring unknowns count as one. */
    private fun trace(from: IntArray, piece: IntArray): List<Int> {
        val ids = ArrayList<Int>()
        var position = from.size - 1
        while (position > 0) {
            val id = piece[position]
            if (id != model.unknownId || ids.lastOrNull() != id) ids += id
            position = from[position]
        }
        return ids.asReversed()
    }

    companion object {
        private const val USER_DEFINED_BONUS = 0.1
        private const val PENALTY = 10f
        private const val SPACE = "\u2581"
        private const val LEAST_SPELLED = 3 // characters: shorter words may well be letters
        private const val BLANK = 0x20
        private const val BLANK_BYTE = BLANK.toByte()
        private val REPLACEMENT = "\uFFFD".toByteArray()

        /**
         * Read a tokenizer's JSON.
         *
         * @throws BundleException it is missing, of another format, or inconsistent; the message names file and key.
         */
        fun load(file: File): Tokenizer = try {
            Tokenizer(TokenizerModel.load(file))
        } catch (error: FormatException) {
            throw BundleException("$file: ${error.message}; rebuild the bundle", error)
        }

        /** Where each character of [text] begins, and where the last one ends. */
        private fun placesOf(text: String): IntArray {
            val places = IntArray(text.points() + 1)
            for (index in 1 until places.size) places[index] = text.offsetByCodePoints(places[index - 1], 1)
            return places
        }

        private fun String.points(): Int = codePointCount(0, length)

        /** Bytes of the UTF-8 character that starts with [lead]; 0 inside one, where a rule matched but its start. */
        private fun characterBytes(lead: Byte): Int {
            val bits = lead.toInt() and 0xFF
            return when {
                bits < 0x80 -> 1
                bits < 0xC0 -> 0
                bits < 0xE0 -> 2
                bits < 0xF0 -> 3
                else -> 4
            }
        }
    }
}

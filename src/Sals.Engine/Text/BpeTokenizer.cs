using System.Text;

namespace Sals.Engine.Text;

/// <summary>
/// Added tokens → normaliser → words → BPE → post-processor, the stages of a tokenizer.json. Built by <see cref="TokenizerJson"/> or
/// <see cref="SentencePieceModel"/>. Thread-safe.
/// </summary>
internal sealed class BpeTokenizer : Tokenizer
{
    private readonly BpeModel _model;
    private readonly Dictionary<string, int> _idOf;
    private readonly string?[] _textOf;
    private readonly byte[]?[] _bytesOf;
    private readonly bool[] _special;
    private readonly AddedTokens _rawTokens;
    private readonly AddedTokens _normalizedTokens;
    private readonly Normalizer? _normalizer;
    private readonly PreTokenizer? _preTokenizer;
    private readonly Decoder? _decoder;
    private readonly int[] _prefix;
    private readonly int[] _suffix;

    public BpeTokenizer(TokenizerParts parts)
    {
        _model = parts.Model;
        _normalizer = parts.Normalizer;
        _preTokenizer = parts.PreTokenizer;
        _decoder = parts.Decoder;
        _prefix = parts.Prefix;
        _suffix = parts.Suffix;
        _idOf = new Dictionary<string, int>(parts.Vocabulary, StringComparer.Ordinal);
        foreach (var token in parts.AddedTokens)
        {
            _idOf[token.Content] = token.Id;
        }

        var size = _idOf.Count == 0 ? 0 : _idOf.Values.Max() + 1;
        _textOf = new string?[size];
        _bytesOf = new byte[]?[size];
        _special = new bool[size];
        foreach (var (text, id) in parts.Vocabulary)
        {
            _textOf[id] = text;
        }

        foreach (var token in parts.AddedTokens)
        {
            _textOf[token.Id] = token.Content;
            _special[token.Id] |= token.Special;
        }

        for (var id = 0; id < size; id++)
        {
            if (_textOf[id] is { } text)
            {
                _bytesOf[id] = _decoder is null || _special[id] ? Encoding.UTF8.GetBytes(text) : _decoder.MiddleBytes(text);
            }
        }

        _rawTokens = new AddedTokens(parts.AddedTokens.Where(token => !token.Normalized));
        _normalizedTokens = new AddedTokens(parts.AddedTokens
            .Where(token => token.Normalized)
            .Select(token => token with { Content = _normalizer?.Apply(token.Content) ?? token.Content })
            .Where(token => token.Content.Length > 0));
    }

    public override int VocabularySize => _textOf.Length;

    public override bool StripsLeadingSpace => _decoder?.StripsLeadingSpace ?? false;

    public override List<int> Encode(string text, bool addSpecialTokens, bool parseSpecialTokens) =>
        Encode(text, [], !parseSpecialTokens, addSpecialTokens);

    public override List<int> Encode(RenderedPrompt prompt, bool addSpecialTokens)
    {
        var plain = new bool[prompt.Text.Length];
        foreach (var (start, length) in prompt.PlainText)
        {
            plain.AsSpan(start, length).Fill(true);
        }

        return Encode(prompt.Text, plain, allPlain: false, addSpecialTokens);
    }

    public override string Decode(ReadOnlySpan<int> ids, bool skipSpecialTokens)
    {
        var tokens = new List<string>(ids.Length);
        foreach (var id in ids)
        {
            if (TokenText(id) is { } text && !(skipSpecialTokens && _special[id]))
            {
                tokens.Add(text);
            }
        }

        return _decoder is null ? string.Join(' ', tokens) : string.Concat(_decoder.Apply(tokens));
    }

    public override ReadOnlySpan<byte> TokenBytes(int id) => (uint)id < (uint)_bytesOf.Length ? _bytesOf[id] : [];

    public override string? TokenText(int id) => (uint)id < (uint)_textOf.Length ? _textOf[id] : null;

    public override int? TokenId(string token) => _idOf.TryGetValue(token, out var id) ? id : null;

    public override bool IsSpecial(int id) => (uint)id < (uint)_special.Length && _special[id];

    private List<int> Encode(string text, ReadOnlySpan<bool> plain, bool allPlain, bool addSpecialTokens)
    {
        var ids = new List<int>((text.Length / 3) + 4);
        if (addSpecialTokens)
        {
            ids.AddRange(_prefix);
        }

        foreach (var (start, length, token) in _rawTokens.Cut(text, plain, allPlain))
        {
            if (token is not null)
            {
                ids.Add(token.Id);
            }
            else
            {
                EncodeStretch(text.Substring(start, length), plain.IsEmpty ? plain : plain.Slice(start, length), allPlain, start == 0, ids);
            }
        }

        if (addSpecialTokens)
        {
            ids.AddRange(_suffix);
        }

        return ids;
    }

    /// <summary>A stretch between added tokens of the original text.</summary>
    private void EncodeStretch(string text, ReadOnlySpan<bool> plain, bool allPlain, bool atStart, List<int> ids)
    {
        var normalized = _normalizer?.Apply(text) ?? text;
        if (_normalizedTokens.IsEmpty)
        {
            EncodeWords(normalized, atStart, ids);
            return;
        }

        var moved = Moved(text, normalized, plain, ref allPlain);
        foreach (var (start, length, token) in _normalizedTokens.Cut(normalized, moved, allPlain))
        {
            if (token is not null)
            {
                ids.Add(token.Id);
            }
            else
            {
                EncodeWords(normalized.Substring(start, length), atStart && start == 0, ids);
            }
        }
    }

    /// <summary>The plain-text map of the normalised text; a normaliser that moves characters makes a stretch with any plain text wholly plain.</summary>
    private ReadOnlySpan<bool> Moved(string text, string normalized, ReadOnlySpan<bool> plain, ref bool allPlain)
    {
        if (plain.IsEmpty || !plain.Contains(true))
        {
            return [];
        }

        var offset = _normalizer?.Prepended ?? 0;
        if (_normalizer is { KeepsPositions: false } || normalized.Length != text.Length + offset)
        {
            allPlain = true;
            return [];
        }

        var moved = new bool[normalized.Length];
        plain.CopyTo(moved.AsSpan(offset));
        return moved;
    }

    private void EncodeWords(string text, bool atStart, List<int> ids)
    {
        if (_preTokenizer is null)
        {
            _model.Encode(text, ids);
            return;
        }

        var words = new Words(text);
        _preTokenizer.Apply(words, atStart);
        foreach (var (start, length) in words.Ranges)
        {
            _model.Encode(words.Text.AsSpan(start, length), ids);
        }
    }
}

/// <summary>What a tokenizer is made of, whichever file it was read from.</summary>
internal sealed record TokenizerParts
{
    public required Dictionary<string, int> Vocabulary { get; init; }

    public required IReadOnlyList<AddedToken> AddedTokens { get; init; }

    public required BpeModel Model { get; init; }

    public Normalizer? Normalizer { get; init; }

    public PreTokenizer? PreTokenizer { get; init; }

    public Decoder? Decoder { get; init; }

    /// <summary>Ids put before and after a text when special tokens are added.</summary>
    public int[] Prefix { get; init; } = [];

    public int[] Suffix { get; init; } = [];
}
